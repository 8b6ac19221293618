"""Which records of a partition are settled, in one byte for each, and four more until all are read."""

from array import array
from typing import TYPE_CHECKING

from worker.dead_letters.settlement import UNIDENTIFIED, Action, Run, Settlement

if TYPE_CHECKING:
    from collections.abc import Iterable

_CHUNK_BITS = 12
_CHUNK = 1 << _CHUNK_BITS
_ACTIONS = (None, Action.REPLAYED, Action.DISCARDED, Action.EDITED)
"""By the number that is kept; to reopen is to keep 0."""
_NUMBERS = {action: number for number, action in enumerate(_ACTIONS)}
_NO_IDENTITIES = array("I", [UNIDENTIFIED]) * _CHUNK


class SettledOffsets:
    """The settled offsets of one partition.

    The records are added in their order, and each settlement where it is read: so of several the last one decides.

    Args:
        start: the first offset of the partition.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        # By chunk, and only where there are records: the offsets of a partition can have gaps of any size.
        self._identities: dict[int, array[int]] = {}
        self._settled: dict[int, bytearray] = {}

    def find_action(self, offset: int) -> Action | None:
        """What has settled the record at `offset`; None if it is open."""
        actions = self._settled.get(offset >> _CHUNK_BITS)
        return None if actions is None else _ACTIONS[actions[offset & _CHUNK - 1]]

    def add_record(self, offset: int, identity: int) -> None:
        """Add a record that settlements behind it may name."""
        chunk = self._identities.get(offset >> _CHUNK_BITS)
        if chunk is None:
            chunk = self._identities[offset >> _CHUNK_BITS] = _NO_IDENTITIES[:]
        chunk[offset & _CHUNK - 1] = identity

    def apply(self, settlement: Settlement) -> int:
        """Apply a settlement to the records before it; returns to how many.

        A run is believed if its last record is the one that was settled: not in a copy of the topic with other offsets.
        """
        applied = 0
        for run in settlement.runs:
            if self._is_believed(run):
                first = max(run.first, self._start)
                applied += run.last - first + 1
                self._mark(first, run.last, _NUMBERS.get(settlement.action, 0))
        return applied

    def finish(self) -> None:
        """Free what only `apply` needs."""
        self._identities.clear()

    def _is_believed(self, run: Run) -> bool:
        chunk = self._identities.get(run.last >> _CHUNK_BITS)
        return run.identity != UNIDENTIFIED and chunk is not None and chunk[run.last & _CHUNK - 1] == run.identity

    def _mark(self, first: int, last: int, action: int) -> None:
        chunks: Iterable[int] = range(first >> _CHUNK_BITS, (last >> _CHUNK_BITS) + 1)
        if len(chunks) > len(self._identities):  # type: ignore[arg-type]  # a range
            chunks = [number for number in self._identities if number in chunks]
        for number in chunks:
            actions = self._settled.get(number)
            if actions is None:
                actions = self._settled[number] = bytearray(_CHUNK)
            start, stop = max(first - number * _CHUNK, 0), min(last + 1 - number * _CHUNK, _CHUNK)
            actions[start:stop] = bytes([action]) * (stop - start)
