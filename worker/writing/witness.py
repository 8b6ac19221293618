"""Witnesses: rows that the store has taken before, to ask whether it takes rows now.

When an insert fails, either the store is away or these rows are at fault (too many, or of a kind that makes it fail
with a code that nobody knows). A row that it took before tells which: taken again, the store is there. It goes in as a
version of itself that is a millisecond older, so that it never shows in the de-duplicated view.
"""

from collections import OrderedDict
from enum import Enum, auto

from worker.block import Block
from worker.errors import RowRefused, StoreError
from worker.model import Row, UnreadableRecord
from worker.ports import Store

_MONTHS = 24


class Life(Enum):
    """What the store does now."""

    AWAY = auto()
    """It does not answer as it should."""
    ANSWERS = auto()
    """It answers an insert of no rows; nothing is known that it must take."""
    TAKES = auto()
    """It takes a row that it took before."""


class Witnesses:
    """One row for each partition of the table that rows have lately gone to.

    Args:
        store: what is asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocks: OrderedDict[int, Block] = OrderedDict()

    def took(self, block: Block) -> None:
        """`block` was accepted: its last row is the witness of its month from now on."""
        row = block.last()
        if row is None:
            return
        self._blocks[block.month] = Block.of(block.month, [_light(row)])
        self._blocks.move_to_end(block.month)
        if len(self._blocks) > _MONTHS:
            self._blocks.popitem(last=False)

    async def testify(self, month: int) -> Life:
        """Whether the store takes rows now: of `month` where there is a witness of it, else of any."""
        try:
            return await self.probe(month)
        except StoreError:
            return Life.AWAY

    async def probe(self, month: int) -> Life:
        """Ask the store with the best that there is; never AWAY.

        Raises:
            StoreError: what an insert would meet.
        """
        while (witness := self._blocks.get(month) or next(reversed(self._blocks.values()), None)) is not None:
            try:
                await self._store.probe(witness)
            except RowRefused:
                # The rules of the table have changed since: it answers, but that says nothing of other rows.
                self._blocks.pop(witness.month, None)
            else:
                return Life.TAKES
        await self._store.probe()
        return Life.ANSWERS

    def speaks_for(self, month: int) -> bool:
        """Whether there is a witness of this very month."""
        return month in self._blocks


def _light(row: Row) -> Row:
    """The row without what is not written of its event, and older than itself."""
    event = row.event
    place = UnreadableRecord(event.record.topic, event.record.partition, event.record.offset)
    return row._replace(event=event._replace(metrics={}, record=place, recorded_at=max(event.recorded_at - 1, 0)))
