"""Witnesses: rows that the store has taken before, to ask whether it takes rows now.

When an insert fails, either the store is away or these rows are at fault (too many, or of a kind that makes it fail
with a code that nobody knows). Rows that it took before tell which: taken again, the store is there. They have the sort
key that they had, so the de-duplicated view does not change; a whole block has its token as well, and then not even the
table does.
"""

from collections import OrderedDict
from itertools import islice

from worker.block import Block
from worker.errors import RowRefused, StoreError
from worker.ports import Store

_MONTHS = 24
_SMALL = 1_000
"""Rows of a block that is kept whole. Of a larger one, which may have been hard to take, one row is enough."""


class Witnesses:
    """One for each partition of the table that rows have lately gone to.

    Args:
        store: what is asked.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._blocks: OrderedDict[int, Block] = OrderedDict()

    def took(self, block: Block) -> None:
        """`block` was accepted, and is the witness of its month from now on."""
        whole = len(block) <= _SMALL
        self._blocks[block.month] = block if whole else Block.of(block.month, islice(block.rows(), 1))
        self._blocks.move_to_end(block.month)
        if len(self._blocks) > _MONTHS:
            self._blocks.popitem(last=False)

    def __bool__(self) -> bool:
        return bool(self._blocks)

    def latest(self) -> Block | None:
        """The witness that was taken last, of whatever month; None when nothing was taken yet."""
        return next(reversed(self._blocks.values()), None)

    async def testify(self, month: int) -> bool:
        """Whether the store takes rows of `month` now; False too where there is no witness of that month."""
        block = self._blocks.get(month)
        if block is None:
            return False
        try:
            await self._insert(block)
        except StoreError:
            return False
        return True

    async def probe(self, month: int) -> bool:
        """Ask the store with the best that there is; whether that was a row of `month`.

        Raises:
            StoreError: what an insert would meet.
        """
        await self._store.probe()
        block = self._blocks.get(month) or self.latest()
        if block is not None:
            await self._insert(block)
        return block is not None and block.month == month

    async def _insert(self, block: Block) -> None:
        try:
            await self._store.insert(block)
        except RowRefused:
            # The rules of the table have changed since. That is an answer, but these are no witnesses any more.
            self._blocks.pop(block.month, None)
