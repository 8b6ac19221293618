"""Two instances of the worker on one Kafka, such as staging and production: neither is to notice the other."""

import asyncio
from collections.abc import Iterator

import pytest

from deploy.local.broker import KafkaServer
from deploy.local.engine_process import EngineProcess
from tests.integration.conftest import StartWorker
from tests.kafka.conftest import RunCommand
from tests.kafka.test_group import count_revokes
from tests.kafka.workload import Workload, events, is_group_member
from tests.support.event_sources import open_event_sources, poll_records
from tests.support.local import Topics, fresh_name, wait_until
from tests.support.tables import migrate
from tests.support.topic import send
from worker.clickhouse.connection import ClickHouseTarget
from worker.core.errors import DependencyError
from worker.kafka.event_source import KafkaEventSource

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


async def test_instances_that_join_one_group_at_once_read_nothing_of_each_other(
    broker: KafkaServer, topics: Topics
) -> None:
    """Neither has found the other before it joined."""
    group, servers = fresh_name("group"), broker.bootstrap_servers
    await send(servers, topics.events, events(20))
    async with open_event_sources() as sources:
        first = await sources.open(servers, topics.events, group, instance_id=f"production_{POD}")
        assert await poll_records(first, 20)
        second = await sources.open(servers, topics.events, group, instance_id=f"staging_{POD}")
        with pytest.raises(DependencyError, match=r"members of production_metrics-worker, and this is staging_metrics"):
            await poll_in_turn(second, first)
        assert first.is_group_member


async def poll_in_turn(*sources: KafkaEventSource) -> None:
    """Poll until the first of them returns a record."""
    async with asyncio.timeout(20):
        while not (await sources[0].poll(100, 2**30, 0.2)).records:
            for source in sources[1:]:
                await source.poll(100, 2**30, 0.2)
