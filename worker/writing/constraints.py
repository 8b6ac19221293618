"""Constraints of the table: the store says which rows of a block violate one, all in one answer.

ClickHouse refuses a block with a row that violates a constraint as a whole, and names one such row. To find the others
by inserting costs an INSERT for each, at least. But a constraint is an expression, and the store can evaluate it over
the rows without writing them:

- Of a refused block the store is asked which rows violate the constraint; the others go in with one INSERT.
- A constraint that has refused a row is remembered. From then on the store is asked before the INSERT, and the rows
  that violate it are inserted after the others, by themselves. They are still inserted: a constraint that was dropped
  refuses nothing, and is forgotten. So is one that no row of `_FORGET_AFTER_BLOCKS` blocks has violated.
- Where it cannot be evaluated, because it names a column that the worker does not write, or is that of another table,
  the block is bisected. It is evaluated again after a while, and sooner where the store did not answer.
"""

from collections import OrderedDict
from collections.abc import Sequence

import structlog

from worker.core.errors import StoreError
from worker.core.outcome import Constraint, Outcome, OutcomeKind
from worker.events.block import Block
from worker.observability.telemetry import Telemetry
from worker.ports import Store

log = structlog.get_logger(__name__)

_FORGET_AFTER_BLOCKS = 10
"""A needless SELECT costs a fifth of an INSERT; an INSERT that is refused for want of it, more than half."""
_MAX_REMEMBERED = 4
_BLOCKS_AFTER_FAILURE = 10
"""Blocks for which a constraint is not evaluated after the store did not answer: to wait for each would delay all."""
_BLOCKS_AFTER_UNEVALUABLE = 1_000
"""The same, where it cannot be evaluated: a grant may be given later."""
_MAX_SKIPPED = 100
_INSERT_FAILS_TOO = (OutcomeKind.UNAVAILABLE, OutcomeKind.TOO_LARGE, OutcomeKind.REFUSED)


class Constraints:
    """Remembers the constraints that have lately refused rows.

    Args:
        store: what is asked.
        telemetry: counts the questions.
    """

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._blocks_since_violation: OrderedDict[Constraint, int] = OrderedDict()
        self._blocks = 0
        self._skipped_until: OrderedDict[Constraint, int] = OrderedDict()

    async def find_violating(self, outcome: Outcome, block: Block) -> Sequence[int]:
        """Positions of the rows that violate the constraint that refused `block`; empty where that is not known."""
        constraint = outcome.constraint
        if outcome.kind is not OutcomeKind.REFUSED or constraint is None or len(block) == 1:
            return ()
        if self._blocks < self._skipped_until.get(constraint, 0):
            return ()
        positions = await self._ask(constraint, block)
        if positions is None:
            return ()
        if not positions or (outcome.row is not None and outcome.row not in positions):
            self._skip_unevaluable(constraint, "the answer lacks the row that the store has named")
            return ()
        self._remember(constraint)
        return positions

    async def separate_violating(self, block: Block) -> tuple[Block, Block]:
        """The rows that violate remembered constraints, and the others."""
        self._blocks += 1
        violating: set[int] = set()
        for constraint in [*self._blocks_since_violation]:
            positions = await self._ask(constraint, block)
            if positions is None:
                break  # it may not answer about the others either, and each would wait
            violating.update(positions)
            self._count(constraint, violated=bool(positions))
        return block.partition_rows(violating) if violating else (Block(block.month), block)

    def forget(self) -> None:
        """Rows that violate them were written: the table was changed."""
        self._blocks_since_violation.clear()

    async def _ask(self, constraint: Constraint, block: Block) -> Sequence[int] | None:
        outcome = "unanswered"
        try:
            positions = await self._store.find_violations(constraint, block)
            outcome = "violated" if positions else "fulfilled"
        except StoreError as error:
            if error.kind in _INSERT_FAILS_TOO:
                self._skip_for(constraint, _BLOCKS_AFTER_FAILURE)  # the INSERT meets the same, and its outcome decides
            else:
                self._skip_unevaluable(constraint, str(error))
            return None
        else:
            return positions
        finally:
            self._telemetry.constraint_questions.labels(outcome).inc()

    def _skip_unevaluable(self, constraint: Constraint, why: str) -> None:
        expression = constraint.expression
        log.warning("a constraint cannot be evaluated; bisecting blocks", expression=expression, why=why)
        self._skip_for(constraint, _BLOCKS_AFTER_UNEVALUABLE)

    def _skip_for(self, constraint: Constraint, blocks: int) -> None:
        self._blocks_since_violation.pop(constraint, None)
        self._skipped_until[constraint] = self._blocks + blocks
        self._skipped_until.move_to_end(constraint)
        if len(self._skipped_until) > _MAX_SKIPPED:
            self._skipped_until.popitem(last=False)

    def _remember(self, constraint: Constraint) -> None:
        self._blocks_since_violation[constraint] = 0
        self._blocks_since_violation.move_to_end(constraint)
        if len(self._blocks_since_violation) > _MAX_REMEMBERED:
            self._blocks_since_violation.popitem(last=False)

    def _count(self, constraint: Constraint, *, violated: bool) -> None:
        if constraint not in self._blocks_since_violation:
            return  # forgotten meanwhile, for another block
        quiet = 0 if violated else self._blocks_since_violation[constraint] + 1
        if quiet < _FORGET_AFTER_BLOCKS:
            self._blocks_since_violation[constraint] = quiet
        else:
            del self._blocks_since_violation[constraint]
