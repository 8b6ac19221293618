"""A worker that is told to stop in the middle of joining; Tansu's group is stuck for good after it."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from deploy.local.demo.worker_progress import terminate
from tests.support.local import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import StartWorker


def test_a_member_that_stops_while_it_joins_does_not_hold_the_group_up(start_worker: StartWorker) -> None:
    first = start_worker()
    wait_until(lambda: not first.readiness(), "the first is a member", 30.0)
    joining = start_worker()
    os.kill(joining.pid, signal.SIGTERM)

    assert terminate(joining) == 0
    assert terminate(first) == 0
    last = start_worker()
    wait_until(lambda: not last.readiness(), "the next one becomes a member", 30.0)
