"""The broker goes away and comes back with its data, in the middle of the work."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from clickhouse_driver import Client

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded, events
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import headers_of, read, send, size


@pytest.fixture
def own(tmp_path: Path) -> Iterator[ApacheKafka]:
    """A broker that may be killed."""
    with ApacheKafka(tmp_path / "own") as broker:
        yield broker


@pytest.fixture
async def here(own: ApacheKafka, environment: dict[str, str], clickhouse: Client) -> Loaded:
    """The test's topics, on that broker."""
    environment["KAFKA_BOOTSTRAP_SERVERS"] = own.bootstrap_servers
    await create_topics(own.bootstrap_servers, {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1})
    return Loaded(environment, clickhouse)


@pytest.mark.parametrize("ending", [ApacheKafka.kill, ApacheKafka.stop], ids=["killed", "stopped"])
async def test_nothing_is_lost_and_the_worker_goes_on_by_itself(
    here: Loaded, own: ApacheKafka, start_worker: StartWorker, ending: Callable[[ApacheKafka], None]
) -> None:
    worker = start_worker(BATCH_MAX_EVENTS="100", KAFKA_SESSION_TIMEOUT_SECONDS="6")
    await here.more(4_000)
    wait_until(lambda: here.view() > 0, "it has begun")
    await asyncio.to_thread(ending, own)
    seen = here.view()
    await asyncio.to_thread(own.start)
    await here.more(1_000)
    here.wait_for_all()
    await here.assert_each_once()
    assert seen < here.view(), "it went away too late to show anything"
    assert worker.process.running
    wait_until(lambda: not worker.readiness(), "it is ready", 30)
    worker.stop()
    assert await here.committed() == here.put


@pytest.mark.usefixtures("not_negative")
async def test_dead_letters_outlive_the_broker(here: Loaded, own: ApacheKafka, start_worker: StartWorker) -> None:
    guilty = [encoded(event(execution_id=str(UUID(int=number)), metrics={"bad": -1})) for number in range(300)]
    worker = start_worker(BATCH_MAX_EVENTS="20", KAFKA_SESSION_TIMEOUT_SECONDS="6", KAFKA_DLQ_TIMEOUT_SECONDS="3")
    await send(here.servers, here.topic, [value for pair in zip(guilty, events(300), strict=True) for value in pair])
    here.put = 300
    wait_until(lambda: here.view() > 0, "it has begun")
    await asyncio.to_thread(own.kill)
    await asyncio.to_thread(own.start)
    here.wait_for_all()
    wait_until(lambda: worker.telemetry()["metrics_worker_events_total"][()] >= 600, "all are settled", 30)
    worker.stop()
    assert await here.committed() == 600
    letters = await read(here.servers, here.dlq_topic, await size(here.servers, here.dlq_topic))
    assert {headers_of(letter)["dlq.execution_id"] for letter in letters} == {str(UUID(int=n)) for n in range(300)}
