"""Members of a group that come, go, hang and are mistaken for each other."""

import json
import os
import signal
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded, assigned, says
from tests.support.local import wait_until

Environment = dict[str, str]


def revokes(worker: WorkerProcess) -> int:
    return worker.process.output().count('"partitions revoked"')


async def test_rebalances_in_mid_batch_lose_nothing(start_worker: StartWorker, loaded: Loaded) -> None:
    changes = {"BATCH_MAX_EVENTS": "200"}
    first = start_worker(**changes)
    wait_until(lambda: assigned(first), "the first member is in")
    for _ in range(3):
        await loaded.more(2_000)
        other = start_worker(**changes)
        wait_until(lambda: assigned(other), "another member is in")  # noqa: B023 - called here and now
        await loaded.more(1_000)
        os.kill(other.pid, signal.SIGTERM)
    loaded.wait_for_all()
    assert revokes(first) >= 3
    await loaded.assert_each_once()


async def test_a_rolling_restart_of_static_members_causes_no_rebalance(
    environment: Environment, tmp_path: Path, loaded: Loaded
) -> None:
    workers = [
        WorkerProcess(
            tmp_path,
            environment
            | {"KAFKA_GROUP_INSTANCE_ID": f"member-{number}", "KAFKA_SESSION_TIMEOUT_SECONDS": "30"}
            | {"BATCH_MAX_EVENTS": "200"},
            name=f"static-{number}",
        )
        for number in range(3)
    ]
    try:
        for worker in workers:
            worker.start()
        wait_until(lambda: all(map(assigned, workers)), "three members", 40)
        wait_until(lambda: _shares(workers) == {0, 1, 2, 3}, "every partition has a member", 40)
        before = [revokes(worker) for worker in workers]
        for number, worker in enumerate(workers):
            await loaded.more(1_500)
            worker.stop()
            worker.start()
            before[number] = 0  # its log begins again
            await loaded.more(1_500)
        loaded.wait_for_all()
        wait_until(lambda: all(map(assigned, workers)), "three members again", 40)
        assert [revokes(worker) for worker in workers] == before
        await loaded.assert_each_once()
        assert loaded.table() == loaded.view(), "stopped in good order, nothing is written twice"
    finally:
        for worker in workers:
            worker.stop()


def _shares(workers: list[WorkerProcess]) -> set[int]:
    return {partition for worker in workers for partition in _share(worker)}


def _share(worker: WorkerProcess) -> list[int]:
    lines = [line for line in worker.process.output().splitlines() if '"partitions assigned"' in line]
    share: list[int] = json.loads(lines[-1])["partitions"] if lines else []
    return share


async def test_the_older_of_two_members_with_one_name_says_so_and_ends(
    start_worker: StartWorker, loaded: Loaded
) -> None:
    older = start_worker(KAFKA_GROUP_INSTANCE_ID="twin")
    wait_until(lambda: assigned(older), "the older is in")
    await loaded.more(500)
    loaded.wait_for_all()
    younger = start_worker(KAFKA_GROUP_INSTANCE_ID="twin")
    wait_until(lambda: assigned(younger), "the younger is in")
    await loaded.more(500)
    process = older.process._popen
    assert process is not None
    assert process.wait(30) == 3
    assert says(older, "KAFKA_GROUP_INSTANCE_ID"), older.process.tail()
    loaded.wait_for_all()
    await loaded.assert_each_once()


async def test_a_zombie_commits_nothing_that_it_does_not_own(start_worker: StartWorker, loaded: Loaded) -> None:
    zombie = start_worker(BATCH_MAX_EVENTS="100")
    wait_until(lambda: assigned(zombie), "it is in")
    await loaded.more(3_000)
    wait_until(lambda: loaded.table() > 0, "it has begun")
    zombie.process.pause()
    heir = start_worker(BATCH_MAX_EVENTS="100")
    wait_until(lambda: assigned(heir), "the heir has its partitions", 30)
    loaded.wait_for_all()
    done = await loaded.offsets()
    assert sum(offset or 0 for offset in done.values()) <= loaded.put
    zombie.process.resume()
    await loaded.more(1_000)
    loaded.wait_for_all()
    wait_until(lambda: assigned(zombie), "the zombie is a member again", 30)
    await loaded.more(1_000)
    loaded.wait_for_all()
    after = await loaded.offsets()
    assert all((after[number] or 0) >= (offset or 0) for number, offset in done.items()), "an offset went back"
    await loaded.assert_each_once()


async def test_members_beyond_the_partitions_wait_and_take_over(start_worker: StartWorker, loaded: Loaded) -> None:
    workers = [start_worker() for _ in range(6)]
    wait_until(lambda: all(map(assigned, workers)), "six members of four partitions", 40)
    await loaded.more(500)
    loaded.wait_for_all()
    owners = [worker for worker in workers if _share(worker)]
    assert len(owners) == 4
    for worker in owners:
        worker.process.kill()
    await loaded.more(500)
    loaded.wait_for_all()
    await loaded.assert_each_once()


async def test_partitions_that_are_added_are_found(start_worker: StartWorker, loaded: Loaded) -> None:
    worker = start_worker(KAFKA_METADATA_MAX_AGE_SECONDS="2")
    wait_until(lambda: assigned(worker), "it is in")
    admin = AIOKafkaAdminClient(bootstrap_servers=loaded.servers)
    await admin.start()
    try:
        await admin.create_partitions({loaded.topic: NewPartitions(6)})
    finally:
        await admin.close()
    await loaded.more(50, partition=5)
    loaded.wait_for_all(30)
    await loaded.assert_each_once()
