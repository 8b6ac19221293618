"""Members of a group that join, leave, hang, and have the same name."""

import json
import os
import signal
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, is_group_member
from tests.support.local import wait_until

Environment = dict[str, str]


def count_revokes(worker: WorkerProcess) -> int:
    return worker.process.output().count('"partitions revoked"')


async def test_rebalances_during_a_batch_lose_nothing(start_worker: StartWorker, workload: Workload) -> None:
    changes = {"BATCH_MAX_EVENTS": "200"}
    first = start_worker(**changes)
    wait_until(lambda: is_group_member(first), "the first member is a member")
    for _ in range(3):
        await workload.send(2_000)
        other = start_worker(**changes)
        wait_until(lambda: is_group_member(other), "another member is a member")  # noqa: B023 - called here and now
        await workload.send(1_000)
        os.kill(other.pid, signal.SIGTERM)
    workload.wait_until_written()
    assert count_revokes(first) >= 3
    await workload.assert_each_once()


def test_members_join_although_their_session_is_long_and_the_rebalance_short(start_worker: StartWorker) -> None:
    """A member learns of a rebalance from the answer to a heartbeat."""
    changes = {
        "KAFKA_SESSION_TIMEOUT_SECONDS": "300",
        "KAFKA_REBALANCE_TIMEOUT_SECONDS": "5",
        "CLICKHOUSE_TIMEOUT_SECONDS": "4",
    }
    workers = [start_worker(**changes)]
    wait_until(lambda: is_group_member(workers[0]), "the first member is a member", 30)
    workers.append(start_worker(**changes))
    wait_until(lambda: _all_partitions(workers) == {0, 1, 2, 3}, "every partition has a member", 15)
    wait_until(lambda: all(map(is_group_member, workers)), "both are members", 15)
    assert all(map(_partitions, workers))
    assert count_revokes(workers[0]) == 1


def test_session_that_the_broker_refuses_is_named(start_worker: StartWorker) -> None:
    worker = start_worker(KAFKA_SESSION_TIMEOUT_SECONDS="301")
    wait_until(lambda: not worker.process.running, "it ends")
    assert (
        "KAFKA_SESSION_TIMEOUT_SECONDS=301 is not between the broker's group.min.session.timeout.ms and "
        "group.max.session.timeout.ms"
    ) in worker.process.output()


async def test_rolling_restart_of_static_members_causes_no_rebalance(
    environment: Environment, tmp_path: Path, workload: Workload
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
        wait_until(lambda: all(map(is_group_member, workers)), "three members", 40)
        wait_until(lambda: _all_partitions(workers) == {0, 1, 2, 3}, "every partition has a member", 40)
        before = [count_revokes(worker) for worker in workers]
        for number, worker in enumerate(workers):
            await workload.send(1_500)
            worker.stop()
            worker.start()
            before[number] = 0  # its log starts again
            await workload.send(1_500)
        workload.wait_until_written()
        wait_until(lambda: all(map(is_group_member, workers)), "three members again", 40)
        assert [count_revokes(worker) for worker in workers] == before
        await workload.assert_each_once()
        assert workload.count_table() == workload.count_view(), "a clean stop writes nothing twice"
    finally:
        for worker in workers:
            worker.stop()


def _all_partitions(workers: list[WorkerProcess]) -> set[int]:
    return {partition for worker in workers for partition in _partitions(worker)}


def _partitions(worker: WorkerProcess) -> list[int]:
    lines = [line for line in worker.process.output().splitlines() if '"partitions assigned"' in line]
    partitions: list[int] = json.loads(lines[-1])["partitions"] if lines else []
    return partitions


async def test_older_of_two_members_with_one_name_ends_with_an_error(
    start_worker: StartWorker, workload: Workload
) -> None:
    older = start_worker(KAFKA_GROUP_INSTANCE_ID="twin")
    wait_until(lambda: is_group_member(older), "the older is a member")
    await workload.send(500)
    workload.wait_until_written()
    younger = start_worker(KAFKA_GROUP_INSTANCE_ID="twin")
    wait_until(lambda: is_group_member(younger), "the younger is a member")
    await workload.send(500)
    process = older.process._popen
    assert process is not None
    assert process.wait(30) == 3
    assert "KAFKA_GROUP_INSTANCE_ID" in older.process.output(), older.process.tail()
    workload.wait_until_written()
    await workload.assert_each_once()


async def test_zombie_commits_nothing_that_it_does_not_own(start_worker: StartWorker, workload: Workload) -> None:
    zombie = start_worker(BATCH_MAX_EVENTS="100")
    wait_until(lambda: is_group_member(zombie), "it is a member")
    await workload.send(3_000)
    wait_until(lambda: workload.count_table() > 0, "some events are written")
    zombie.process.pause()
    successor = start_worker(BATCH_MAX_EVENTS="100")
    wait_until(lambda: is_group_member(successor), "the successor has its partitions", 30)
    workload.wait_until_written()
    done = await workload.committed_offsets()
    assert sum(offset or 0 for offset in done.values()) <= workload.sent
    zombie.process.resume()
    await workload.send(1_000)
    workload.wait_until_written()
    wait_until(lambda: is_group_member(zombie), "the zombie is a member again", 30)
    await workload.send(1_000)
    workload.wait_until_written()
    after = await workload.committed_offsets()
    assert all((after[number] or 0) >= (offset or 0) for number, offset in done.items()), "an offset went back"
    await workload.assert_each_once()


async def test_spare_members_wait_and_take_over(start_worker: StartWorker, workload: Workload) -> None:
    workers = [start_worker() for _ in range(6)]
    wait_until(lambda: all(map(is_group_member, workers)), "six members of four partitions", 40)
    await workload.send(500)
    workload.wait_until_written()
    owners = [worker for worker in workers if _partitions(worker)]
    assert len(owners) == 4
    for worker in owners:
        worker.process.kill()
    await workload.send(500)
    workload.wait_until_written()
    await workload.assert_each_once()


async def test_added_partitions_are_read(start_worker: StartWorker, workload: Workload) -> None:
    worker = start_worker(KAFKA_METADATA_MAX_AGE_SECONDS="2")
    wait_until(lambda: is_group_member(worker), "it is a member")
    admin = AIOKafkaAdminClient(bootstrap_servers=workload.servers)
    await admin.start()
    try:
        await admin.create_partitions({workload.topic: NewPartitions(6)})
    finally:
        await admin.close()
    await workload.send(50, partition=5)
    workload.wait_until_written(30)
    await workload.assert_each_once()
