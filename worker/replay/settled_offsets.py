"""Which records of a partition are settled, in six bytes for each."""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

from worker.dead_letters.settlement import UNIDENTIFIED, Action, OffsetRun, Settlement

_CHUNK_BITS = 12
_CHUNK = 1 << _CHUNK_BITS
_NO_IDENTITIES = array("I", [UNIDENTIFIED]) * _CHUNK
_OPEN = 0
_ALL_OPEN = array("H", [_OPEN]) * _CHUNK
MAX_ENTRIES = 10_000
"""Entries of the journal that are kept; anybody can write to the topic. Of others only the action is known. A number
has 16 bits."""


class JournalEntries:
    """Entries of the journal without their runs, each once, by number."""

    def __init__(self) -> None:
        self._entries: list[Settlement | None] = [None]  # the number of what is open
        self._numbers: dict[tuple[str, Action], int] = {}

    def __getitem__(self, number: int) -> Settlement | None:
        return self._entries[number]

    def add(self, settlement: Settlement) -> int:
        """The number of the entry, which all settlements of one operation share."""
        key = (settlement.operation, settlement.action)
        if key not in self._numbers and len(self._entries) >= MAX_ENTRIES:
            settlement = Settlement(settlement.action, operation="", by="", at=0, why=None, command="")
            key = ("", settlement.action)
        if key not in self._numbers:
            self._numbers[key] = len(self._entries)
            self._entries.append(settlement._replace(runs=()))
        return self._numbers[key]


class SettledOffsets:
    """The settled offsets of one partition.

    The records are added in their order, and each settlement where it is read: so of several the last one decides.

    Args:
        start: the first offset of the partition.
        entries: those of all partitions.

    Attributes:
        open_offsets: from the first record that is not settled to the last one; known after `finish`.
    """

    def __init__(self, start: int, entries: JournalEntries) -> None:
        self._start = start
        self._entries = entries
        # By chunk, and only where there are records: the offsets of a partition can have gaps of any size.
        self._identities: dict[int, array[int]] = {}
        self._settled: dict[int, array[int]] = {}
        self._unidentified: list[int] = []
        self.open_offsets = range(0)

    def is_open(self, offset: int) -> bool:
        """Whether the record at `offset` is not settled."""
        numbers = self._settled.get(offset >> _CHUNK_BITS)
        return numbers is None or not numbers[offset & _CHUNK - 1]

    def find(self, offset: int) -> Settlement | None:
        """What has settled the record at `offset`, without runs; None if it is open."""
        numbers = self._settled.get(offset >> _CHUNK_BITS)
        return None if numbers is None else self._entries[numbers[offset & _CHUNK - 1]]

    def add_record(self, offset: int, identity: int) -> None:
        """Add a record that settlements behind it may name."""
        if identity == UNIDENTIFIED:
            self._unidentified[1:] = [offset]  # only the first and the last are of use
            return
        chunk = self._identities.get(offset >> _CHUNK_BITS)
        if chunk is None:
            chunk = self._identities[offset >> _CHUNK_BITS] = _NO_IDENTITIES[:]
        chunk[offset & _CHUNK - 1] = identity

    def apply(self, settlement: Settlement) -> int:
        """Apply a settlement to the records before it; returns to how many.

        A run is believed if its last record is the one that was settled: not in a copy of the topic with other offsets.
        """
        applied = 0
        runs = [run for run in settlement.runs if self._is_believed(run)]
        if runs:  # else it is no entry that a record needs
            number = _OPEN if settlement.action is Action.REOPENED else self._entries.add(settlement)
            for run in runs:
                first = max(run.first, self._start)
                applied += run.last - first + 1
                self._mark(first, run.last, number)
        return applied

    def finish(self) -> None:
        """Find the `open_offsets`. More records and settlements may follow, and then another call."""
        ascending = sorted(self._identities)
        first = islice(self._find_open(ascending, range(_CHUNK)), 1)
        last = islice(self._find_open(reversed(ascending), range(_CHUNK - 1, -1, -1)), 1)
        edges = [*self._unidentified, *first, *last]
        self.open_offsets = range(min(edges), max(edges) + 1) if edges else range(0)

    def _find_open(self, chunks: Iterable[int], offsets: range) -> Iterator[int]:
        for at in chunks:
            identities, numbers = self._identities[at], self._settled.get(at, _ALL_OPEN)
            yield from (at * _CHUNK + offset for offset in offsets if identities[offset] and not numbers[offset])

    def _is_believed(self, run: OffsetRun) -> bool:
        chunk = self._identities.get(run.last >> _CHUNK_BITS)
        return run.identity != UNIDENTIFIED and chunk is not None and chunk[run.last & _CHUNK - 1] == run.identity

    def _mark(self, first: int, last: int, number: int) -> None:
        among = range(first >> _CHUNK_BITS, (last >> _CHUNK_BITS) + 1)
        chunks: Iterable[int] = among
        if len(among) > len(self._identities):
            chunks = [at for at in self._identities if at in among]
        for at in chunks:
            numbers = self._settled.get(at)
            if numbers is None:
                numbers = self._settled[at] = _ALL_OPEN[:]
            start, stop = max(first - at * _CHUNK, 0), min(last + 1 - at * _CHUNK, _CHUNK)
            numbers[start:stop] = array("H", [number]) * (stop - start)
