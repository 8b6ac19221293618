"""The dead letters that an operator discards or restores."""

from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import aclosing

from worker.core.model import DeadLetterPosition
from worker.dead_letters.causes import FOREIGN
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import UNIDENTIFIED, Action, identify
from worker.replay.journal import Journal
from worker.replay.scan import DeadLetterScan

_BLOCK = 20_000
"""Dead letters of one settlement, as in a replay."""


class ManualSettlement:
    """The selected dead letters, in twelve bytes each.

    Args:
        limit: at most so many; None for all.
        confirmed: the selection that the operator has confirmed: no other dead letter is added. None if there is none.

    Attributes:
        selection: the filter.
        by_class: how many, by error class; `FOREIGN` for records that are no dead letters.
        beyond_limit: how many more the filter selects, those that the operator was not shown included.
        unreadable: how many records were left out because the Kafka client cannot read them.
    """

    def __init__(
        self, selection: DeadLetterFilter, limit: int | None, confirmed: "ManualSettlement | None" = None
    ) -> None:
        self.selection = selection
        self._limit = limit
        self._confirmed = confirmed
        self._offsets: dict[int, array[int]] = defaultdict(lambda: array("q"))
        self._identities: dict[int, array[int]] = defaultdict(lambda: array("I"))
        self.by_class: Counter[str] = Counter()
        self.beyond_limit = 0
        self.unreadable = 0

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Add one record, if it is selected."""
        if not self.selection.matches(item):
            return
        identity = identify(item.record)
        if identity == UNIDENTIFIED:
            self.unreadable += 1
        elif not self._may_choose(item.position, identity):
            self.beyond_limit += 1
        else:
            self.by_class[FOREIGN if isinstance(item, ForeignRecord) else item.failure.error_class.value] += 1
            self._offsets[item.position.partition].append(item.position.offset)
            self._identities[item.position.partition].append(identity)

    def _may_choose(self, position: DeadLetterPosition, identity: int) -> bool:
        if self._confirmed is not None:
            return self._confirmed.contains(position, identity)
        return self._limit is None or self.by_class.total() < self._limit

    def contains(self, position: DeadLetterPosition, identity: int) -> bool:
        """Whether this dead letter is selected; another one at the same position is not."""
        offsets, identities = self._offsets[position.partition], self._identities[position.partition]
        at = bisect_left(offsets, position.offset)
        return at < len(offsets) and offsets[at] == position.offset and identities[at] == identity

    async def read(self, scan: DeadLetterScan, settled_by: Action | None) -> "ManualSettlement":
        """Add the selected dead letters that are open, or those that are settled by an action; returns itself."""
        if settled_by is None:
            return await scan.scan(self)
        return await self.visit_settled(scan, settled_by)

    async def visit_settled(self, scan: DeadLetterScan, action: Action) -> "ManualSettlement":
        """Add the selected dead letters that are settled by this action, but those that others have replaced.

        Returns itself, as a scan returns its visitor.
        """
        async with aclosing(scan.read_batches(include_settled=True)) as batches:
            async for items in batches:
                for item in items:
                    settlement = scan.find_settlement(item)
                    if settlement is not None and settlement.action is action and not scan.is_replaced(item):
                        self.visit(item)
        return self

    async def write(self, journal: Journal, on_progress: Callable[[int], object] = lambda _: None) -> None:
        """Write the settlements. Raises DependencyError if the topic does not acknowledge them.

        `on_progress` is called with the number of dead letters that are settled.
        """
        await journal.begin()
        done = 0
        for block in self._blocks():
            await journal.settle(block)
            done += len(block)
            on_progress(done)
        await journal.end(dict(self.by_class))

    def _blocks(self) -> Iterator[list[tuple[DeadLetterPosition, int]]]:
        for partition, offsets in self._offsets.items():
            identities = self._identities[partition]
            for start in range(0, len(offsets), _BLOCK):
                pairs = zip(offsets[start : start + _BLOCK], identities[start : start + _BLOCK], strict=True)
                yield [(DeadLetterPosition(partition, offset), identity) for offset, identity in pairs]
