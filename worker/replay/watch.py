"""Keeps the numbers of open dead letters current."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from time import process_time, time
from typing import Protocol

import structlog

from worker.core.errors import DependencyError
from worker.core.model import DeadLetterPosition
from worker.core.retry import Sleep
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.open_causes import OpenCauses
from worker.dead_letters.settlement import Settled, Settlement
from worker.observability.open_dead_letters import OpenDeadLetters, WatchState
from worker.ports import TopicReader
from worker.replay.scan import DeadLetterScan

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 15.0
_PAUSE_FACTOR = 9
"""Times the CPU time of a check, so that the checks take at most a tenth of a core, however large the topic is."""
_RETENTION_SECONDS = 600.0
"""How often the retention is requested."""
_UNREAD = "the dead-letter topic has not been read yet"


class ScanObserver(Protocol):
    """Is shown what one scan reads, beside the watch itself."""

    def add_settlement(self, position: DeadLetterPosition, settlement: Settlement, applied: int) -> None:
        """Process a settlement that applies to so many records."""

    def add(self, item: DeadLetter | ForeignRecord, settled: Settled) -> None:
        """Process a record that is no settlement, with what has settled it."""

    def publish(self, scan: DeadLetterScan) -> None:
        """The scan is complete, and `DeadLetterWatch.state` is replaced at the same moment."""


class _NoObserver:
    def add_settlement(self, position: DeadLetterPosition, settlement: Settlement, applied: int) -> None: ...

    def add(self, item: DeadLetter | ForeignRecord, settled: Settled) -> None: ...

    def publish(self, scan: DeadLetterScan) -> None: ...


class DeadLetterWatch:
    """Scans the dead-letter topic again when its offsets have moved: `state` is then replaced, in one assignment.

    Args:
        open_reader: connects to the topic; called for each check, so that it finds partitions that were added.
        fetch_retention: the retention of the topic in seconds, as `WatchState` has it.
        create_observer: called at the beginning of each scan.
    """

    def __init__(
        self,
        open_reader: Callable[[], AbstractAsyncContextManager[TopicReader]],
        fetch_retention: Callable[[], Awaitable[float | None]],
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = time,
        cpu_clock: Callable[[], float] = process_time,
        create_observer: Callable[[], ScanObserver] = _NoObserver,
    ) -> None:
        self._open_reader = open_reader
        self._fetch_retention = fetch_retention
        self._sleep = sleep
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._create_observer = create_observer
        self._scanned: Mapping[int, range] | None = None
        self._next_retention = 0.0
        self.state = WatchState(problem=_UNREAD)

    async def run(self) -> None:
        """Check again and again, until it is cancelled. While Kafka is away, the state keeps what was found before."""
        while True:
            started = self._cpu_clock()
            try:
                await self._check()
            except DependencyError as error:
                self._report(str(error))
            await self._sleep(max(_PAUSE_SECONDS, _PAUSE_FACTOR * (self._cpu_clock() - started)))

    async def _check(self) -> None:
        began, state, scanned = self._clock(), self.state, self._scanned
        publish = _publish_nothing
        async with self._open_reader() as reader:
            if await reader.fetch_offset_ranges() != scanned:
                observer = self._create_observer()
                scan = await DeadLetterScan.begin(reader, observer.add_settlement)
                found = await _find_open(scan, observer)
                scanned = scan.offset_ranges
                publish = partial(observer.publish, scan)
                state = state._replace(open=found, scan_seconds=max(self._clock() - began, 0.0))
        now = self._clock()
        if not now < self._next_retention <= now + _RETENTION_SECONDS:  # later than that: the clock was set back
            self._next_retention = now + _RETENTION_SECONDS
            if (seconds := await self._fetch_retention()) is not None:
                state = state._replace(retention_seconds=seconds)
        if state.problem is not None:
            log.info("the open dead letters are counted")
        publish()  # no await from here on: numbers and pages change at the same moment
        self._scanned = scanned
        self.state = state._replace(last_check=began, problem=None)

    def _report(self, problem: str) -> None:
        if problem != self.state.problem:
            log.warning("the open dead letters cannot be counted", error=problem)
        self.state = self.state._replace(problem=problem)


def _publish_nothing() -> None:
    """Nothing was scanned."""


async def _find_open(scan: DeadLetterScan, observer: ScanObserver) -> OpenDeadLetters:
    causes = OpenCauses()
    async with aclosing(scan.read_batches(include_settled=True)) as batches:
        async for items in batches:
            for item in items:
                settled = scan.find_settled(item)
                causes.add(item, is_open=not settled)
                observer.add(item, settled)
    return causes.summarize()
