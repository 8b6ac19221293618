"""Pipeline and writer on fakes, with a clock that does not wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.support.clock import Clock
from tests.support.fakes import MemoryDeadLetters, MemoryStore
from worker.core.hold import Hold
from worker.core.retry import RetryPolicy
from worker.observability.telemetry import Telemetry
from worker.pipeline import Pipeline
from worker.writing.writer import OnUnavailable, Writer

RETRY = RetryPolicy(attempts=3, max_seconds=60.0, first_wait_seconds=0.1, max_wait_seconds=1.0)
PACE = RetryPolicy(attempts=2, max_seconds=1.0, first_wait_seconds=0.5, max_wait_seconds=8.0)
"""For what is retried without end. Its limits are small, so that a test would fail if they were applied."""


class WorkerHarness:
    """Pipeline, writer and their dependencies, built from `store` and the policies."""

    def __init__(
        self,
        store: MemoryStore,
        on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
        retry: RetryPolicy = RETRY,
        hold: Hold | None = None,
    ) -> None:
        self.store = store
        self.clock = Clock()
        self.hold = hold or Hold()
        self.telemetry = Telemetry()
        self.dead_letters = MemoryDeadLetters()
        self.writer = Writer(
            store,
            self.hold,
            retry,
            on_unavailable,
            backoff=PACE,
            sleep=self.clock.sleep,
            telemetry=self.telemetry,
        )
        self.pipeline = Pipeline(
            self.writer, self.dead_letters, self.hold, self.telemetry, None, PACE, self.clock.sleep
        )

    def counted(self, name: str, **labels: str) -> float:
        """The value of a counter of the telemetry; 0 if it was never incremented."""
        return self.telemetry.registry.get_sample_value(f"metrics_worker_{name}_total", labels) or 0.0


@asynccontextmanager
async def rig(
    store: MemoryStore | None = None,
    on_unavailable: OnUnavailable = OnUnavailable.DEAD_LETTER,
    retry: RetryPolicy = RETRY,
    hold: Hold | None = None,
) -> AsyncIterator[WorkerHarness]:
    """A `WorkerHarness` whose writer is closed at the end."""
    built = WorkerHarness(store or MemoryStore(), on_unavailable, retry, hold)
    try:
        yield built
    finally:
        await built.writer.close()
