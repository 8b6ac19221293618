"""Metrics that are written apart, because nothing of them is taken.

Something behind the table, such as a view that throws, may refuse every row of one metric for days. In a block with all
others it would have the block refused, cut and written in pieces again and again. So:

- A metric of which every row was refused in two blocks in a row is written apart from then on: the others go in with
  one insert, and its rows after them, in a block of their own.
- That block is still attempted, as a whole and then row by row: a row that the table takes is in the table.
- When a row of it is taken, the metric is forgotten and goes with the others again; also when it has not come in
  `_QUIET` blocks, or is the one of more than `_MOST` that was refused longest ago.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from worker.block import Block
from worker.errors import ErrorClass
from worker.model import FailedMetric

_BLOCKS = 2
_QUIET = 1_000
_MOST = 1_000


@dataclass
class _Refusals:
    """How many blocks in a row held nothing of a metric but refused rows, and when the last one was written."""

    blocks: int = 0
    last: int = 0


class Apart:
    """Remembers, by metric, since when nothing of it was taken."""

    def __init__(self) -> None:
        self._written = 0
        self._refused: OrderedDict[str, _Refusals] = OrderedDict()

    def __contains__(self, metric: str) -> bool:
        return metric in self._refused and self._refused[metric].blocks >= _BLOCKS

    def parts(self, block: Block) -> Sequence[tuple[Block, bool]]:
        """What is written after one another: the others, then each metric that is apart; with whether it is that.

        A block without such metrics is its own only part.
        """
        if not len(block):
            return []
        alone = [metric for metric in self._refused if metric in self]
        held = set(block.metrics).intersection(alone) if alone else ()
        if not held:
            return [(block, False)]
        return [(part, apart) for part, apart in _divided(block, held) if len(part)]

    def learn(self, block: Block, failed: Iterable[FailedMetric]) -> None:
        """`block` is written but for `failed`. Of what the store was away for, nothing is learnt."""
        self._written += 1
        refused = Counter(item.metric for item in failed if item.failure.error_class is ErrorClass.ROW_REFUSED)
        if not refused and not self._refused:
            return
        for metric, rows in Counter(block.metrics).items():
            if refused[metric] == rows:
                refusals = self._refused.setdefault(metric, _Refusals())
                refusals.blocks, refusals.last = refusals.blocks + 1, self._written
                self._refused.move_to_end(metric)
            elif metric in self._refused and not _undecided(metric, failed):
                del self._refused[metric]
        while self._refused and (len(self._refused) > _MOST or self._oldest().last <= self._written - _QUIET):
            self._refused.popitem(last=False)

    def _oldest(self) -> _Refusals:
        return next(iter(self._refused.values()))


def _divided(block: Block, metrics: Iterable[str]) -> Iterator[tuple[Block, bool]]:
    parts = {metric: Block(block.month) for metric in metrics}
    rest = Block(block.month)
    for row in block.rows():
        parts.get(row.metric, rest).add(row.event, (row.metric,), (row.value,))
    yield rest, False
    for part in parts.values():
        yield part, True


def _undecided(metric: str, failed: Iterable[FailedMetric]) -> bool:
    """Whether rows of it failed for a reason that says nothing of the rows."""
    return any(item.metric == metric and item.failure.error_class is not ErrorClass.ROW_REFUSED for item in failed)
