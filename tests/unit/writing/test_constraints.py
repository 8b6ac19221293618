"""Rows that violate a constraint are found by evaluating it; while it is remembered they are inserted by themselves."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from tests.support.clock import until
from tests.support.events import block_of, many_events
from tests.support.fakes import CONSTRAINT, MISCONFIGURED, TOO_LARGE, UNAVAILABLE, UNCLASSIFIED, MemoryStore
from tests.support.worker_harness import WorkerHarness, open_worker_harness
from worker.core.errors import ErrorClass, StoreError
from worker.core.model import FailedMetric, Failure, Row
from worker.core.outcome import Constraint, Outcome
from worker.events.block import Block
from worker.writing import constraints
from worker.writing.on_unavailable import OnUnavailable

EVENTS = many_events(20)
VIOLATED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)


Answers = Callable[[], Sequence[int] | None]


class Table(MemoryStore):
    """A table whose constraint a test changes, and whose answers about it too."""

    def __init__(self, refuses: Callable[[Row], bool]) -> None:
        super().__init__(lambda row: self.refuses(row), names_constraint=True)  # noqa: PLW0108 - tests change it
        self.refuses = refuses
        self.answers: Answers = lambda: None

    async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:
        positions = await super().find_violating_rows(constraint, block)
        instead = self.answers()
        return positions if instead is None else instead


def fail(outcome: Outcome) -> Answers:
    def answer() -> Sequence[int]:
        raise StoreError(outcome)

    return answer


def low(row: Row) -> bool:
    return row.event.completed_at % 5 == 0 and row.metric == "b"


def block(first: int = 0) -> Block:
    """Forty rows, other ones for another `first`, of which `low` are four."""
    return block_of([event._replace(completed_at=event.completed_at + 5 * first) for event in EVENTS], ["a", "b"])


POSITIONS_OF_LOW = [position for position, row in enumerate(block().rows()) if low(row)]
"""The same in every `block`."""


async def write(worker: WorkerHarness, block: Block) -> tuple[list[int], list[FailedMetric]]:
    """How many rows each insert had that the block took, and what failed."""
    before = len(worker.store.inserts)
    failed = await worker.write(block)
    return worker.store.inserts[before:], failed


def asked(worker: WorkerHarness, outcome: str) -> float:
    return worker.counted("constraint_questions", outcome=outcome)


class TestViolatedConstraint:
    @pytest.mark.parametrize(
        ("refuses", "inserts"),
        [(low, [40, 36]), (lambda row: row.metric == "b", [40, 20]), (lambda _: True, [40])],
        ids=["some rows", "a metric", "every row"],
    )
    async def test_all_violating_rows_are_found_by_one_question(
        self, refuses: Callable[[Row], bool], inserts: list[int]
    ) -> None:
        async with open_worker_harness(Table(refuses)) as worker:
            inserted, failed = await write(worker, block())
            assert inserted == inserts
            assert {(item.failure, item.attempts) for item in failed} == {(VIOLATED, 1)}
            assert len(failed) == 40 - sum(inserts[1:])
            assert asked(worker, "violated") == 1

    async def test_single_row_is_refused_without_evaluating_it(self) -> None:
        async with open_worker_harness(store := Table(lambda _: True)) as worker:
            assert len(await worker.write(block_of(EVENTS[:1], ["b"]))) == 1
            assert store.asked == []

    async def test_evaluated_though_the_refusal_names_no_row(self) -> None:
        class Distributed(Table):
            async def insert(self, block: Block) -> Outcome:
                return (await super().insert(block))._replace(row=None)

        async with open_worker_harness(Distributed(low)) as worker:
            inserts, failed = await write(worker, block())
            assert inserts == [40, 36]
            assert [item.failure for item in failed] == [VIOLATED] * 4


class TestRememberedConstraint:
    async def test_violating_rows_are_inserted_after_the_others(self) -> None:
        async with open_worker_harness(Table(low)) as worker:
            await write(worker, block())
            for number in range(1, 4):
                inserts, failed = await write(worker, block(number))
                assert inserts == [36, 4]
                assert [item.failure for item in failed] == [VIOLATED] * 4

    async def test_dropped_constraint_refuses_nothing_and_is_forgotten(self) -> None:
        async with open_worker_harness(store := Table(low)) as worker:
            await write(worker, block())
            # The expression is what the constraint was: the store goes on to say that these rows do not fulfil it.
            store.refuses, store.answers = (lambda _: False), (lambda: POSITIONS_OF_LOW)
            assert await write(worker, block(1)) == ([36, 4], [])
            assert await write(worker, block(2)) == ([40], [])

    async def test_loosened_constraint_accepts_what_fulfils_it_now_and_is_forgotten(self) -> None:
        async with open_worker_harness(store := Table(low)) as worker:
            await write(worker, block())
            answers = iter([POSITIONS_OF_LOW])
            store.answers = lambda: next(answers, None)
            store.refuses = lambda row: low(row) and row.event.completed_at % 10 == 0
            inserts, failed = await write(worker, block(1))
            assert inserts == [36, 4, 2]
            assert len(failed) == 2
            assert (await write(worker, block(2)))[0] == [40, 38], "forgotten"

    async def test_forgotten_after_ten_blocks_without_a_violation(self) -> None:
        async with open_worker_harness(store := Table(low)) as worker:
            await write(worker, block())
            store.refuses = lambda _: False
            for number in range(1, 20):
                assert await write(worker, block(number)) == ([40], [])
            assert asked(worker, "fulfilled") == 10

    async def test_at_most_four_are_remembered(self) -> None:
        """However many constraints a table has, at most four are evaluated before a block is inserted."""
        refused_for = ""

        class Many(Table):
            async def insert(self, block: Block) -> Outcome:
                outcome = await super().insert(block)
                if outcome.constraint is None:
                    return outcome
                return outcome._replace(constraint=CONSTRAINT._replace(expression=refused_for))

            async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:
                return (
                    await super().find_violating_rows(CONSTRAINT, block) if constraint.expression == refused_for else ()
                )

        async with open_worker_harness(store := Many(low)) as worker:
            for number in range(6):
                refused_for = f"rule {number}"
                await write(worker, block(number))
            store.refuses = lambda _: False
            before = asked(worker, "fulfilled")
            await write(worker, block(9))
            assert asked(worker, "fulfilled") - before == 4


class TestConstraintThatCannotBeEvaluated:
    @pytest.mark.parametrize("answers", [fail(UNCLASSIFIED), list, lambda: [0]], ids=["fails", "none", "others"])
    async def test_not_evaluated_again_and_the_block_is_bisected(self, answers: Answers) -> None:
        async with open_worker_harness(store := Table(low)) as worker:
            store.answers = answers
            with capture_logs() as logs:
                for number in range(2):
                    _, failed = await write(worker, block(number))
                    assert {(item.metric, item.event.completed_at % 5) for item in failed} == {("b", 0)}
                    assert len(failed) == 4
            assert [entry["expression"] for entry in logs] == ["metric_value >= 0"]
            assert len(store.asked) == 1

    async def test_evaluated_again_after_a_thousand_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(constraints, "_BLOCKS_TO_SKIP_UNEVALUABLE", 5)
        async with open_worker_harness(store := Table(low)) as worker:
            store.answers = fail(MISCONFIGURED)
            await write(worker, block())
            store.answers = lambda: None
            lengths = [(await write(worker, block(number)))[0] for number in range(1, 7)]
            assert [inserts == [40, 36] for inserts in lengths] == [False] * 4 + [True, False]
            assert lengths[-1] == [36, 4]

    @pytest.mark.parametrize("outcome", [UNAVAILABLE, TOO_LARGE], ids=lambda outcome: outcome.kind.value)
    async def test_not_evaluated_for_ten_blocks_after_the_store_did_not_answer(self, outcome: Outcome) -> None:
        """One question in ten blocks, however many pieces are refused; then it is asked again."""
        async with open_worker_harness(store := Table(low)) as worker:
            await write(worker, block())
            store.answers, before = fail(outcome), len(store.asked)
            for number in range(1, 11):
                _, failed = await write(worker, block(number))
                assert len(failed) == 4
            assert len(store.asked) - before == 1
            store.answers = lambda: None
            inserts, _ = await write(worker, block(11))
            assert inserts == [40, 36]

    async def test_not_evaluated_while_the_store_is_known_to_be_unavailable(self) -> None:
        async with open_worker_harness(store := Table(low), OnUnavailable.HOLD) as worker:
            await write(worker, block())
            store.broken = UNAVAILABLE
            first = asyncio.create_task(worker.write(block(1)))
            await until(lambda: worker.hold.is_active)
            before = len(store.asked)
            second = asyncio.create_task(worker.write(block(2)))
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(store.asked) == before
            store.broken = None
            assert [len(await task) for task in (first, second)] == [4, 4]
