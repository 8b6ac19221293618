"""The servers that tests of the outside world share: started once, on loopback, when the first test asks for them."""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from deploy.local.broker import KafkaServer, create_topics
from deploy.local.engine_process import EngineProcess
from deploy.local.stack import BROKERS
from tests.support.local import Topics, fresh_name
from tests.support.scheduling import SharedFixtureScheduling
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let one suite run against either broker."""
    parser.addoption("--broker", choices=sorted(BROKERS), default="tansu", help="which Kafka broker to test against")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Apache Kafka, leave out the tests whose outcome is the same whatever the broker: `make test` has them."""
    if config.getoption("broker") == "kafka":
        left_out = {item for item in items if not _depends_on_broker(item)}
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def _depends_on_broker(item: pytest.Item) -> bool:
    if "tests/kafka/" in item.nodeid:
        return True
    return "new_broker" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("any_broker")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling | None:
    """Spread tests over processes where no other `--dist` is asked for."""
    return SharedFixtureScheduling(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="session")
def new_broker(pytestconfig: pytest.Config) -> Callable[[Path], KafkaServer]:
    """Makes a broker of the kind under test, not started, that keeps its files in a folder."""
    return BROKERS[pytestconfig.getoption("broker")]


@pytest.fixture(scope="session")
def broker(
    new_broker: Callable[[Path], KafkaServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KafkaServer]:
    """A Kafka broker. A test that would kill it starts its own."""
    with new_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """ClickHouse. A test that would kill it starts its own."""
    with EngineProcess(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
async def topics(broker: KafkaServer) -> Topics:
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
def migrated_target(engine: EngineProcess, database: str) -> ClickHouseTarget:
    """The test's own database, with the tables of the worker."""
    target = ClickHouseTarget(engine.host, engine.port, database)
    migrate(target)
    return target


@pytest.fixture
def clickhouse(engine: EngineProcess, database: str) -> Iterator[Client]:
    """A client whose unqualified names mean the test's own database."""
    with engine.client(database) as client:
        yield client


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is freed but what nobody holds any more: the worker's collector runs rarely."""
    gc.disable()
    yield
    gc.enable()
