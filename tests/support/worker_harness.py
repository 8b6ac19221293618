"""Pipeline and writer on fakes, with a clock that does not wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.clock import FakeClock
from tests.support.fakes import MemoryDeadLetters, MemoryStore
from worker.core.hold import Hold
from worker.core.model import FailedMetric
from worker.core.retry import RetryPolicy
from worker.events.block import Block
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.writing.on_unavailable import OnUnavailable
from worker.writing.splitting import SplitBudget
from worker.writing.writer import Writer

FAILURE_LOG = FailureLog(users=False)
RETRY = RetryPolicy(attempts=3, max_seconds=60.0, first_wait_seconds=0.1, max_wait_seconds=1.0)
PACE = RetryPolicy(attempts=2, max_seconds=1.0, first_wait_seconds=0.5, max_wait_seconds=8.0)
"""For what is retried without end. Its limits are small, so that a test would fail if they were applied."""


@dataclass
class WorkerHarness:
    """A writer and a pipeline, and what they depend on."""

    store: MemoryStore
    clock: FakeClock
    hold: Hold
    telemetry: Telemetry
    dead_letters: MemoryDeadLetters
    writer: Writer
    pipeline: Pipeline

    async def write(self, block: Block) -> list[FailedMetric]:
        """Write `block` as the only one of its batch."""
        return await self.writer.write(block, SplitBudget())

    def counted(self, name: str, **labels: str) -> float:
        """The value of a counter of the telemetry; 0 if it was never incremented."""
        return self.telemetry.registry.get_sample_value(f"metrics_worker_{name}_total", labels) or 0.0


@asynccontextmanager
async def open_worker_harness(
    store: MemoryStore | None = None,
    on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
    retry: RetryPolicy = RETRY,
    hold: Hold | None = None,
    *,
    starts_open: bool = False,
    event_policy: EventPolicy = DEFAULT_POLICY,
) -> AsyncIterator[WorkerHarness]:
    """Build a `WorkerHarness` on `store`; close its writer at the end."""
    store, hold = store or MemoryStore(), hold or Hold()
    clock, telemetry, dead_letters = FakeClock(), Telemetry(), MemoryDeadLetters()
    writer = Writer(
        store, hold, telemetry, retry, on_unavailable, backoff=PACE, sleep=clock.sleep, starts_open=starts_open
    )
    pipeline = Pipeline(
        writer, dead_letters, hold, telemetry, FAILURE_LOG, PACE, clock.sleep, event_policy=event_policy
    )
    try:
        yield WorkerHarness(store, clock, hold, telemetry, dead_letters, writer, pipeline)
    finally:
        await writer.close()
