"""A worker that stops while it joins. (On Tansu the group is then stuck for ever.)"""

from deploy.local.demo.worker_progress import terminate
from tests.integration.conftest import StartWorker
from tests.support.local import wait_until


def test_member_that_stops_while_joining_does_not_block_the_group(start_worker: StartWorker) -> None:
    first = start_worker()
    wait_until(lambda: not first.readiness(), "the first is a member", 30.0)
    joining = start_worker()
    assert terminate(joining) == 0
    assert terminate(first) == 0
    last = start_worker()
    wait_until(lambda: not last.readiness(), "the next one becomes a member", 30.0)
