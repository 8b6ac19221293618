"""Two instances of the worker on one Kafka, such as staging and production: neither is to notice the other."""

from collections.abc import Iterator

import pytest

from deploy.local.engine_process import EngineProcess
from tests.integration.conftest import StartWorker
from tests.kafka.conftest import RunCommand
from tests.kafka.test_group import count_revokes
from tests.kafka.workload import Workload, is_group_member
from tests.support.local import fresh_name, wait_until
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget

Environment = dict[str, str]
POD = "metrics-worker-0"


@pytest.fixture
def staging(environment: Environment, engine: EngineProcess) -> Iterator[tuple[Environment, Workload]]:
    """What differs for a second instance that reads the same topic; and its tables."""
    changes = {
        "CLICKHOUSE_DATABASE": fresh_name("staging"),
        "KAFKA_GROUP_ID": environment["KAFKA_GROUP_ID"] + "-staging",
        "KAFKA_GROUP_INSTANCE_ID": f"metrics-staging_{POD}",
    }
    database = changes["CLICKHOUSE_DATABASE"]
    with engine.client() as client:
        client.execute(f"CREATE DATABASE {database}")
        migrate(ClickHouseTarget(engine.host, engine.port, database))
        with engine.client(database) as tables:
            yield changes, Workload(environment | changes, tables)
        client.execute(f"DROP DATABASE {database} SYNC")


async def test_second_instance_comes_and_goes_without_a_rebalance_of_the_first(
    start_worker: StartWorker, workload: Workload, staging: tuple[Environment, Workload]
) -> None:
    changes, tables = staging
    production = start_worker(KAFKA_GROUP_INSTANCE_ID=f"metrics-production_{POD}")
    wait_until(lambda: is_group_member(production), "production is a member", 30)
    for _ in range(2):
        beside = start_worker(**changes)
        wait_until(lambda: is_group_member(beside), "staging is a member", 30)  # noqa: B023 - called here and now
        await workload.send(500)
        tables.sent = workload.sent
        workload.wait_until_written()
        tables.wait_until_written()
        beside.stop()
    assert count_revokes(production) == 0
    await workload.assert_each_once()
    await tables.assert_each_once()


async def test_instance_with_the_group_of_another_ends_before_it_joins(
    start_worker: StartWorker, workload: Workload, run_command: RunCommand, staging: tuple[Environment, Workload]
) -> None:
    production = start_worker(KAFKA_GROUP_INSTANCE_ID=f"metrics-production_{POD}")
    wait_until(lambda: is_group_member(production), "production is a member", 30)
    mistaken = staging[0] | {"KAFKA_GROUP_ID": workload.group}
    for command in ("check", "run"):
        ended = run_command(command, **mistaken)
        assert ended.returncode == 3
        assert (
            f"consumer group {workload.group} has members of metrics-production_metrics-worker, and this is "
            "metrics-staging_metrics-worker: they would share the events; KAFKA_GROUP_ID must be different"
        ) in " ".join((ended.stdout + ended.stderr).split())
    await workload.send(500)
    workload.wait_until_written()
    assert count_revokes(production) == 0
    await workload.assert_each_once()


def test_workers_of_one_instance_share_its_group(start_worker: StartWorker) -> None:
    for number in range(2):
        worker = start_worker(KAFKA_GROUP_INSTANCE_ID=f"metrics-production_metrics-worker-{number}")
        wait_until(lambda: is_group_member(worker), "it is a member", 30)  # noqa: B023 - called here and now
