"""The journal of an operation: its settlements, which say who did what to which dead letters."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from time import time

from worker.core.model import DeadLetterPosition
from worker.dead_letters.settlement import Settlement, join_runs
from worker.ports import SettlementSink

_FIRST_PARTITION = 0
"""Of the entries that name no dead letters."""


class Journal:
    """Appends the settlements of one operation.

    Every method raises DependencyError if the topic does not acknowledge.

    Args:
        entry: what all of them have in common.
    """

    def __init__(self, sink: SettlementSink, entry: Settlement) -> None:
        self._sink = sink
        self._entry = entry

    async def begin(self) -> None:
        """Append that the operation begins. To be called before anything else is written."""
        await self._append(_FIRST_PARTITION, self._entry)

    async def settle(self, letters: Iterable[tuple[DeadLetterPosition, int]]) -> None:
        """Settle dead letters, given with their identities."""
        by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (partition, offset), identity in letters:
            by_partition[partition].append((offset, identity))
        for partition, offsets in by_partition.items():
            await self._append(partition, self._entry._replace(runs=tuple(join_runs(sorted(offsets)))))

    async def end(self, outcome: Mapping[str, int]) -> None:
        """Append that the operation has ended, and how."""
        await self._append(_FIRST_PARTITION, self._entry._replace(outcome=outcome))

    async def _append(self, partition: int, entry: Settlement) -> None:
        await self._sink.append(partition, entry._replace(at=int(time() * 1000)))
