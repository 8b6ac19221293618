"""Constraints of the table: the store evaluates one over a block, so that one query finds all rows that violate it.

ClickHouse refuses the whole block for one row that violates a constraint, and names one such row. To find the others by
INSERTs costs at least one INSERT each. But a constraint is an expression, and the store can evaluate it over the rows
without writing them:

- When a block is refused, a query finds the rows that violate the constraint; the others are written by one INSERT.
- A constraint that has refused a row is remembered. Later blocks are checked against it before the INSERT, and their
  violating rows are inserted after the others, by themselves. They are still inserted, because the constraint may have
  been dropped: then they are written, and the constraint is forgotten. It is forgotten too when
  `_BLOCKS_TO_FORGET` blocks in a row had no violation.
- A constraint that cannot be evaluated, because it names a column that the worker does not write or is of another
  table, is skipped for many blocks, and for a few blocks when the store did not answer. Then the block is bisected.
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

_BLOCKS_TO_FORGET = 10
"""A SELECT that finds nothing costs 1/5 of an INSERT; an INSERT refused because the SELECT was skipped, more than
1/2."""
_BLOCKS_TO_SKIP_UNANSWERED = 10
"""The store is down; asking again would only wait for a time-out."""
_BLOCKS_TO_SKIP_UNEVALUABLE = 1_000
"""A grant or a column may be added later."""
_MAX_REMEMBERED = 4
_MAX_SKIPPED = 100
_INSERT_FAILS_TOO = (OutcomeKind.UNAVAILABLE, OutcomeKind.TOO_LARGE, OutcomeKind.REFUSED)


class ConstraintChecker:
    """Finds the rows that violate a constraint, and remembers the constraints that have lately refused rows.

    Attributes:
        is_needed: whether a constraint has refused rows since the start.
    """

    def __init__(self, store: Store, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._blocks = 0
        self._blocks_since_violation: OrderedDict[Constraint, int] = OrderedDict()
        self._skipped_until: OrderedDict[Constraint, int] = OrderedDict()
        self.is_needed = False

    async def locate_violations(self, outcome: Outcome, block: Block) -> Sequence[int]:
        """Positions of the rows that violate the constraint that refused `block`; empty where they are not known."""
        constraint = outcome.constraint
        if outcome.kind is not OutcomeKind.REFUSED or constraint is None or len(block) == 1:
            return ()
        self.is_needed = True
        if self._blocks < self._skipped_until.get(constraint, 0):
            return ()
        positions = await self._evaluate(constraint, block)
        if positions is None:
            return ()
        if not positions or (outcome.row is not None and outcome.row not in positions):
            self._skip_unevaluable(constraint, "the answer lacks the row that the store has named")
            return ()
        self._blocks_since_violation[constraint] = 0
        _drop_oldest(self._blocks_since_violation, constraint, _MAX_REMEMBERED)
        return positions

    async def split_known_violations(self, block: Block) -> tuple[Block, Block]:
        """The rows of `block` that violate a remembered constraint, and the other rows."""
        self._blocks += 1
        violating: set[int] = set()
        for constraint in [*self._blocks_since_violation]:
            positions = await self._evaluate(constraint, block)
            if positions is None:
                break  # the store may not answer for the others either, and each would wait
            violating.update(positions)
            self._count_block(constraint, is_violated=bool(positions))
        return block.split_rows(violating) if violating else (Block(block.month), block)

    def forget(self) -> None:
        """Forget every constraint: rows that violate one were written, so the table was changed."""
        self._blocks_since_violation.clear()

    async def _evaluate(self, constraint: Constraint, block: Block) -> Sequence[int] | None:
        """Positions of the rows that violate `constraint`; None where the store does not say."""
        result = "unanswered"
        try:
            positions = await self._store.find_violating_rows(constraint, block)
            result = "violated" if positions else "fulfilled"
        except StoreError as error:
            if error.outcome.kind in _INSERT_FAILS_TOO:  # the outcome of the INSERT decides what follows
                self._skip(constraint, _BLOCKS_TO_SKIP_UNANSWERED)
            else:
                self._skip_unevaluable(constraint, str(error))
            return None
        else:
            return positions
        finally:
            self._telemetry.isolation.constraint_queries.labels(result).inc()

    def _skip_unevaluable(self, constraint: Constraint, why: str) -> None:
        expression = constraint.expression
        log.warning("a constraint cannot be evaluated; bisecting blocks", expression=expression, why=why)
        self._skip(constraint, _BLOCKS_TO_SKIP_UNEVALUABLE)

    def _skip(self, constraint: Constraint, blocks: int) -> None:
        self._blocks_since_violation.pop(constraint, None)
        self._skipped_until[constraint] = self._blocks + blocks
        _drop_oldest(self._skipped_until, constraint, _MAX_SKIPPED)

    def _count_block(self, constraint: Constraint, *, is_violated: bool) -> None:
        if constraint not in self._blocks_since_violation:
            return  # another block has removed it during the evaluation
        blocks = 0 if is_violated else self._blocks_since_violation[constraint] + 1
        if blocks < _BLOCKS_TO_FORGET:
            self._blocks_since_violation[constraint] = blocks
        else:
            del self._blocks_since_violation[constraint]


def _drop_oldest(constraints: OrderedDict[Constraint, int], newest: Constraint, most: int) -> None:
    constraints.move_to_end(newest)
    if len(constraints) > most:
        constraints.popitem(last=False)
