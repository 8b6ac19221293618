"""Rows that a constraint refuses are found by asking, stand apart while it is remembered, and are always attempted."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from tests.support.events import block_of, many_events
from tests.support.fakes import CONSTRAINT, MemoryStore, misconfigured, unavailable, unknown
from tests.support.rig import Rig, rig
from worker.block import Block
from worker.errors import Constraint, ErrorClass, StoreError
from worker.model import FailedMetric, Failure, Row
from worker.writing import constraints
from worker.writing.writer import OnUnavailable

EVENTS = many_events(20)
VIOLATED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)


class Table(MemoryStore):
    """A table whose constraint a test changes, and whose answers about it too."""

    def __init__(self, refuses: Callable[[Row], bool]) -> None:
        super().__init__(self._forbids, names_constraint=True)
        self.refuses = refuses
        self.answers: Callable[[], Sequence[int] | None] = lambda: None

    def _forbids(self, row: Row) -> bool:
        return self.refuses(row)

    async def violating(self, constraint: Constraint, block: Block) -> Sequence[int]:
        positions = await super().violating(constraint, block)
        instead = self.answers()
        return positions if instead is None else instead


def fail(error: Callable[[], StoreError]) -> Callable[[], Sequence[int] | None]:
    def answer() -> Sequence[int] | None:
        raise error()

    return answer


def low(row: Row) -> bool:
    return row.event.completed_at % 5 == 0 and row.metric == "b"


def block(first: int = 0) -> Block:
    """Forty rows, other ones for another `first`, of which `low` are four."""
    return block_of([event._replace(completed_at=event.completed_at + 5 * first) for event in EVENTS], ["a", "b"])


async def write(worker: Rig, block: Block) -> tuple[list[int], list[FailedMetric]]:
    """How many rows each insert had that the block took, and what failed."""
    before = len(worker.store.inserts)
    failed = await worker.writer.write(block)
    return worker.store.inserts[before:], failed


def asked(worker: Rig, outcome: str) -> float:
    return worker.counted("constraint_questions", outcome=outcome)


class TestARefusalForAConstraint:
    async def test_costs_one_insert_more_however_many_rows_are_guilty(self) -> None:
        for refuses, guilty in ((low, 4), (lambda row: row.metric == "b", 20)):
            async with rig(Table(refuses)) as worker:
                inserts, failed = await write(worker, block())
                assert inserts == [40, 40 - guilty]
                assert {(item.failure, item.attempts) for item in failed} == {(VIOLATED, 1)}
                assert len(failed) == guilty
                assert asked(worker, "violated") == 1

    async def test_of_every_row_costs_none(self) -> None:
        async with rig(Table(lambda _: True)) as worker:
            inserts, failed = await write(worker, block())
            assert (inserts, len(failed)) == ([40], 40)

    async def test_of_a_single_row_is_not_asked_about(self) -> None:
        async with rig(store := Table(lambda _: True)) as worker:
            assert len(await worker.writer.write(block_of(EVENTS[:1], ["b"]))) == 1
            assert store.asked == []


class TestARememberedConstraint:
    async def test_leaves_the_others_in_peace_and_is_still_attempted(self) -> None:
        async with rig(Table(low)) as worker:
            await write(worker, block())
            for number in range(1, 4):
                inserts, failed = await write(worker, block(number))
                assert inserts == [36, 4]
                assert [item.failure for item in failed] == [VIOLATED] * 4

    async def test_that_was_dropped_refuses_nothing_and_is_forgotten(self) -> None:
        async with rig(store := Table(low)) as worker:
            await write(worker, block())
            # The expression is what the constraint was: the store goes on to say that these rows do not fulfil it.
            positions = [position for position, row in enumerate(block().rows()) if low(row)]
            store.refuses, store.answers = (lambda _: False), (lambda: positions)
            assert await write(worker, block(1)) == ([36, 4], [])
            assert await write(worker, block(2)) == ([40], [])

    async def test_that_was_loosened_lets_in_what_fulfils_it_now(self) -> None:
        async with rig(store := Table(low)) as worker:
            await write(worker, block())
            positions = [position for position, row in enumerate(block(1).rows()) if low(row)]
            answers = iter([positions])
            store.answers = lambda: next(answers, None)
            store.refuses = lambda row: low(row) and row.event.completed_at % 10 == 0
            inserts, failed = await write(worker, block(1))
            assert inserts == [36, 4, 2]
            assert len(failed) == 2
            assert (await write(worker, block(2)))[0] == [40, 38], "forgotten"

    async def test_is_forgotten_when_nothing_violates_it_any_more(self) -> None:
        async with rig(store := Table(low)) as worker:
            await write(worker, block())
            store.refuses = lambda _: False
            for number in range(1, 20):
                assert await write(worker, block(number)) == ([40], [])
            assert asked(worker, "fulfilled") == 10

    async def test_is_one_of_a_few(self) -> None:
        """However many constraints a table has, a block is not asked about more often than four times."""
        refused_for = ""

        class Many(Table):
            async def insert(self, block: Block) -> None:
                try:
                    await super().insert(block)
                except StoreError as error:
                    error.constraint = CONSTRAINT._replace(expression=refused_for)
                    raise

            async def violating(self, constraint: Constraint, block: Block) -> Sequence[int]:
                return await super().violating(CONSTRAINT, block) if constraint.expression == refused_for else ()

        async with rig(store := Many(low)) as worker:
            for number in range(6):
                refused_for = f"rule {number}"
                await write(worker, block(number))
            store.refuses = lambda _: False
            before = asked(worker, "fulfilled")
            await write(worker, block(9))
            assert asked(worker, "fulfilled") - before == 4


class TestAStoreThatCannotBeAsked:
    @pytest.mark.parametrize("answers", [fail(unknown), list, lambda: [0]], ids=["fails", "finds none", "finds others"])
    async def test_is_not_asked_again_and_the_rows_are_found_by_inserting(
        self, answers: Callable[[], Sequence[int] | None]
    ) -> None:
        async with rig(store := Table(low)) as worker:
            store.answers = answers
            with capture_logs() as logs:
                for number in range(2):
                    _, failed = await write(worker, block(number))
                    assert {(item.metric, item.event.completed_at % 5) for item in failed} == {("b", 0)}
                    assert len(failed) == 4
            assert [entry["expression"] for entry in logs] == ["metric_value >= 0"]
            assert len(store.asked) == 1

    async def test_is_asked_again_after_a_thousand_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constraints, "_UNASKABLE_BLOCKS", 5)
        async with rig(store := Table(low)) as worker:
            store.answers = fail(misconfigured)
            await write(worker, block())
            store.answers = lambda: None
            lengths = [(await write(worker, block(number)))[0] for number in range(1, 7)]
            assert [inserts == [40, 36] for inserts in lengths] == [False] * 4 + [True, False]
            assert lengths[-1] == [36, 4]

    async def test_that_does_not_answer_is_not_waited_for_again_and_again(self) -> None:
        """One question for many blocks, however many pieces are refused; then it is tried again."""
        async with rig(store := Table(low)) as worker:
            await write(worker, block())
            store.answers, before = fail(unavailable), len(store.asked)
            for number in range(1, 11):
                _, failed = await write(worker, block(number))
                assert len(failed) == 4
            assert len(store.asked) - before == 1
            store.answers = lambda: None
            inserts, _ = await write(worker, block(11))
            assert inserts == [40, 36]

    async def test_because_it_is_away_is_not_asked_while_that_is_known(self) -> None:
        async with rig(store := Table(low), OnUnavailable.HOLD) as worker:
            await write(worker, block())
            store.down = unavailable
            first = asyncio.create_task(worker.writer.write(block(1)))
            while not worker.hold.reasons:  # noqa: ASYNC110 - it knows no event
                await asyncio.sleep(0)
            before = len(store.asked)
            second = asyncio.create_task(worker.writer.write(block(2)))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(store.asked) == before
            store.down = None
            assert [len(await task) for task in (first, second)] == [4, 4]

    async def test_in_an_outage_loses_nothing(self) -> None:
        async with rig(store := Table(low)) as worker:
            await write(worker, block())
            store.answers = fail(unavailable)
            store.fail_inserts(unavailable, unavailable)
            _, failed = await write(worker, block(1))
            assert len(failed) == 4
            assert len(store.table) == 2 * 36
