"""Runs replays on a topic and a store in memory."""

import asyncio
from typing import Any

from tests.support.events import event, read, record
from tests.support.fakes import MemorySources, MemoryStore, MemoryTopic
from tests.support.worker_harness import FAILURE_LOG, open_worker_harness
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters.settlement import Action, Settlement
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.pipeline import Pipeline
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy, ReplaySelection
from worker.replay.replayer import Replayer
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.writing.on_unavailable import OnUnavailable

UNAVAILABLE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
UNKNOWN_VERSION = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "an old worker did not know it")
TABLE = "default.execution_metrics"
ENTRY = Settlement(Action.REPLAYED, operation="1", by="operator@host", at=0, why=None, command="")


def failed_metric(name: str, failure: Failure = UNAVAILABLE) -> FailedMetric:
    return FailedMetric(read(event()), name, 1, failure, 3)


def failed_event(*metrics: str, offset: int = 0) -> FailedEvent:
    """An event that an old worker refused, and that this one accepts."""
    return FailedEvent(record(event(metrics=dict.fromkeys(metrics, 1)), offset=offset), UNKNOWN_VERSION)


async def topic_of(*failed: Failed) -> MemoryTopic:
    topic = MemoryTopic()
    await topic.write(failed)
    return topic


async def plan(topic: MemoryTopic, policy: ReplayPolicy, *, dry_run: bool = False) -> ReplaySelection:
    return await (await DeadLetterScan.begin(topic)).scan(ReplaySelection(policy, dry_run=dry_run))


async def count_open(topic: MemoryTopic) -> int:
    return (await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics())).total


async def replay(
    topic: MemoryTopic,
    store: MemoryStore,
    policy: ReplayPolicy | None = None,
    *,
    stop: asyncio.Event | None = None,
    sources: MemorySources | None = None,
    entry: Settlement = ENTRY,
    **options: Any,
) -> ReplayResult:
    """Replay as the command does; `options` are those of the `Replayer`."""
    policy, hold = policy or ReplayPolicy(), WatchedHold()
    scan = await DeadLetterScan.begin(topic)
    async with open_worker_harness(store, OnUnavailable.HOLD, hold=hold) as worker:
        pipeline = Pipeline(worker.writer, topic, hold, worker.telemetry, FAILURE_LOG, sleep=worker.clock.sleep)
        replayer = Replayer(scan, Journal(topic, entry), sources or MemorySources(), pipeline, hold, policy, **options)
        return await replayer.run(stop or asyncio.Event())
