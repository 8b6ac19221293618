"""A compacted dead-letter topic keeps one dead letter of each key, so Kafka would delete acknowledged ones."""

import subprocess
from collections.abc import Callable

import pytest

from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, count_dead_letters
from tests.support.local import wait_until
from tests.support.topic import configure, send, size

RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_worker_holds_while_the_dead_letter_topic_is_compacted_and_resumes_when_it_is_not(
    workload: Workload, start_worker: StartWorker, run_command: RunCommand, policy: str
) -> None:
    await configure(workload.servers, workload.dlq_topic, {"cleanup.policy": policy})
    worker = start_worker()
    await send(workload.servers, workload.topic, [b"garbage"], key=b"k", partition=0)
    wait_until(lambda: "cleanup.policy=delete" in worker.readiness().get("dead_letters", ""), "the worker holds", 30)
    assert policy in worker.readiness()["dead_letters"]
    assert await size(workload.servers, workload.dlq_topic) == 0
    assert await workload.count_committed() == 0
    checked = run_command("check")
    assert checked.returncode == 3
    (failed,) = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    assert "dead-letter topic" in failed
    assert f"kafka-configs.sh --bootstrap-server {workload.servers} --alter" in failed
    assert run_command("replay", "--yes", "--json").returncode == 0, "there is nothing to replay"
    await configure(workload.servers, workload.dlq_topic, {"cleanup.policy": "delete"})
    wait_until(lambda: count_dead_letters(worker) == 1 and not worker.readiness(), "the worker has resumed", 40)
    assert run_command("check").returncode == 0
    worker.stop()
