"""The servers that tests of the outside world share: started once, on loopback, when the first test asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.local.broker import Broker, create_topics
from deploy.local.engine_process import EngineProcess
from tests.support.local import Topics, fresh_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_driver import Client


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka broker. A test that would kill it starts its own."""
    with Broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """ClickHouse. A test that would kill it starts its own."""
    with EngineProcess(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
async def topics(broker: Broker) -> Topics:
    """Two new topics, four partitions and one."""
    name = fresh_name("events")
    topics = Topics(events=name, dead_letters=f"{name}.dlq")
    await create_topics(broker.bootstrap_servers, {topics.events: 4, topics.dead_letters: 1})
    return topics


@pytest.fixture
def database(engine: EngineProcess) -> Iterator[str]:
    """The name of a new, empty database."""
    name = fresh_name("test")
    with engine.client() as client:
        client.execute(f"CREATE DATABASE {name}")
        yield name
        client.execute(f"DROP DATABASE {name} SYNC")


@pytest.fixture
def clickhouse(engine: EngineProcess, database: str) -> Iterator[Client]:
    """A client whose unqualified names mean the test's own database."""
    with engine.client(database) as client:
        yield client
