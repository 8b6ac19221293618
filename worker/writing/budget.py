"""How many INSERTs may be spent on isolating invalid rows."""

from collections import Counter
from dataclasses import dataclass, field

from worker.events.block import Block

_SPLITS_BEFORE_SAMPLES = 4


@dataclass
class IsolationBudget:
    """The pieces that a batch, or 200,000 rows of it, may be split into; its blocks share them.

    Where the budget ends, the rows of a refused piece are refused together. They are marked as not isolated, because
    some of them may be valid, and can be replayed.

    Attributes:
        max_pieces: no more are made of anything.
        max_pieces_in_doubt: no more are made of metrics of which no row was written, or after unclassified failures.
        max_single_refusals: after so many rows of one such metric were refused alone, its pieces are not split further.
        spent: pieces so far.
    """

    max_pieces: int = 1_000
    max_pieces_in_doubt: int = 300
    max_single_refusals: int = 8
    spent: int = 0
    _splits: Counter[str] = field(default_factory=Counter)
    _refused_alone: Counter[str] = field(default_factory=Counter)
    _written_blocks: list[Block] = field(default_factory=list)
    _written_metrics: set[str] = field(default_factory=set)

    def record_written(self, block: Block) -> None:
        """Note that the rows of `block` were written."""
        self._written_blocks.append(block)

    def record_refused_alone(self, metric: str) -> None:
        """Note that a row of `metric` was refused alone."""
        self._refused_alone[metric] += 1

    def record_split(self, block: Block, parts: int) -> None:
        """Note that `block` is split into `parts`."""
        self.spent += parts
        if len(names := set(block.metrics)) == 1:
            self._splits.update(names)

    def may_split(self, block: Block, failed_alone: Counter[str] | None = None) -> bool:
        """Whether the invalid rows of `block` may be isolated further.

        Args:
            block: two rows or more; a single row is isolated.
            failed_alone: how many rows of each metric have failed alone with an unclassified code.
        """
        if len(block) == 1 or self.spent >= self.max_pieces:
            return False
        names = set(block.metrics)
        has_written = self._has_written(names)
        if (failed_alone is not None or not has_written) and self.spent >= self.max_pieces_in_doubt:
            return False
        if has_written or len(names) > 1:
            return True
        return self._single_failures(names.pop(), failed_alone) < self.max_single_refusals

    def should_sample(self, block: Block, failed_alone: Counter[str] | None = None) -> bool:
        """Whether a row of `block` shall be inserted alone, to tell a metric that is always refused from a few rows.

        Not at the first splits: where invalid rows are rare, one of their parts is written.
        """
        names = set(block.metrics)
        if len(names) > 1 or self._has_written(names):
            return False
        (name,) = names
        enough = self._single_failures(name, failed_alone) >= self.max_single_refusals
        return self._splits[name] >= _SPLITS_BEFORE_SAMPLES and not enough

    def _single_failures(self, metric: str, failed_alone: Counter[str] | None) -> int:
        return self._refused_alone[metric] + (failed_alone[metric] if failed_alone else 0)

    def _has_written(self, metrics: set[str]) -> bool:
        while self._written_blocks:
            self._written_metrics.update(self._written_blocks.pop().metrics)
        return not metrics.isdisjoint(self._written_metrics)
