"""What the console knows of the dead-letter topic: the result of one scan."""

from collections.abc import Sequence
from time import time
from typing import NamedTuple

from worker.console.letter_index import LetterIndex
from worker.console.open_over_time import HourlyCounts, OpenOverTime
from worker.core.model import DeadLetterPosition
from worker.dead_letters.causes import FOREIGN, find_cause_id
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.history import History, Operation
from worker.dead_letters.settlement import Settled, Settlement
from worker.dead_letters.statistics import CauseGroup, CauseStatistics
from worker.replay.scan import DeadLetterScan


class Snapshot(NamedTuple):
    """The topic as the last scan has found it.

    Attributes:
        statistics: the open dead letters by cause.
        causes: the groups of `statistics`; the one whose last dead letter failed last is the first.
        letters: where the open dead letters are.
        operations: the journal, the latest operation first.
        over_time: how many dead letters were open at each hour.
        scan: knows what is settled.
    """

    statistics: CauseStatistics
    causes: Sequence[CauseGroup]
    letters: LetterIndex
    operations: Sequence[Operation]
    over_time: HourlyCounts
    scan: DeadLetterScan


class Snapshots:
    """The current snapshot, None before the first scan; each scan builds another one beside it."""

    def __init__(self) -> None:
        self.current: Snapshot | None = None

    def begin(self) -> "SnapshotBuilder":
        """A builder for the next scan."""
        return SnapshotBuilder(self)


class SnapshotBuilder:
    """Collects what a scan reads; a `ScanObserver` of `worker.replay.watch`."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._statistics = CauseStatistics()
        self._letters = LetterIndex()
        self._history = History()
        self._over_time = OpenOverTime(round(time() * 1000))

    def add_settlement(self, position: DeadLetterPosition, settlement: Settlement, applied: int) -> None:
        """Add an entry of the journal."""
        self._history.add(position, settlement, applied)

    def add(self, item: DeadLetter | ForeignRecord, settled: Settled) -> None:
        """Add a record, with what has settled it."""
        if isinstance(item, DeadLetter) and settled is not True:  # else its replacement counts
            self._over_time.add(item.failed_at, settled.at if settled else None)
        if settled:
            return
        self._statistics.visit(item)
        cause = find_cause_id(item)
        if cause == FOREIGN or self._statistics.find(cause) is not None:  # the number of causes is bounded there
            self._letters.add(cause, item.position)

    def publish(self, scan: DeadLetterScan) -> None:
        """Make this the current snapshot."""
        operations = self._history.latest(None)[::-1]
        causes = self._statistics.newest_first()
        self._snapshots.current = Snapshot(
            self._statistics, causes, self._letters, operations, self._over_time.summarize(), scan
        )
