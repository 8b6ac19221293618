"""A metric that is always refused is written apart, still attempted row by row, and forgotten when it is taken."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import block_of, many_events
from tests.support.fakes import MemoryStore, unavailable
from tests.support.rig import Rig, rig
from worker.block import Block
from worker.errors import ErrorClass
from worker.model import FailedMetric, Failure, Row
from worker.writing import apart
from worker.writing.apart import Apart

EVENTS = many_events(20)
METRICS = ["good", "bad", "also good"]
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "no", 469)
AWAY = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "no", 210)


def is_bad(row: Row) -> bool:
    return row.metric == "bad"


class Rules:
    """What the table refuses now; a test changes it between two blocks."""

    def __init__(self, refuses: Callable[[Row], bool]) -> None:
        self.refuses = refuses

    def __call__(self, row: Row) -> bool:
        return self.refuses(row)


async def write(worker: Rig, block: Block) -> tuple[list[int], list[FailedMetric]]:
    """How many rows each insert had that the block took, and what failed."""
    before = len(worker.store.inserts)
    failed = await worker.writer.write(block)
    return worker.store.inserts[before:], failed


def block(first: int = 0) -> Block:
    """Sixty rows, other ones for another `first`."""
    return block_of([event._replace(completed_at=event.completed_at + first) for event in EVENTS], METRICS)


@pytest.mark.parametrize("names_row", [False, True])
class TestAMetricThatIsAlwaysRefused:
    async def test_stays_with_the_others_for_two_blocks_and_leaves_them_in_peace_then(self, names_row: bool) -> None:
        async with rig(MemoryStore(is_bad, names_row=names_row)) as worker:
            for number in range(2):
                inserts, _ = await write(worker, block(number))
                assert inserts[0] == 60
            for number in range(2, 6):
                inserts, failed = await write(worker, block(number))
                assert inserts == [40, 20, *[1] * 20]
                assert len(failed) == 20

    async def test_is_refused_row_by_row_all_the_same(self, names_row: bool) -> None:
        async with rig(MemoryStore(is_bad, names_row=names_row)) as worker:
            for number in range(4):
                _, failed = await write(worker, block(number))
                assert {item.metric for item in failed} == {"bad"}
                assert {item.failure.error_class for item in failed} == {ErrorClass.ROW_REFUSED}
            assert [item.attempts for item in failed] == [2] * 20
            assert len(worker.store.table) == 4 * 40

    async def test_goes_with_the_others_again_when_it_is_taken(self, names_row: bool) -> None:
        rules = Rules(is_bad)
        async with rig(MemoryStore(rules, names_row=names_row)) as worker:
            for number in range(3):
                await write(worker, block(number))
            rules.refuses = lambda _: False
            assert await write(worker, block(3)) == ([40, 20], [])
            assert await write(worker, block(4)) == ([60], [])

    async def test_goes_with_the_others_again_when_one_row_of_it_is_taken(self, names_row: bool) -> None:
        """And what is left of it is not asked one by one any more."""
        rules = Rules(is_bad)
        async with rig(MemoryStore(rules, names_row=names_row)) as worker:
            for number in range(3):
                await write(worker, block(number))
            rules.refuses = lambda row: row.metric == "bad" and row.event is not changed.events[5]
            changed = block(3)
            inserts, failed = await write(worker, changed)
            assert inserts[:9] == [40, 20, *[1] * 6, 14]
            assert len(failed) == 19
            rules.refuses = lambda _: False
            assert await write(worker, block(4)) == ([60], [])

    async def test_that_meets_an_outage_goes_on_after_it(self, names_row: bool) -> None:
        async with rig(MemoryStore(is_bad, names_row=names_row)) as worker:
            for number in range(3):
                await write(worker, block(number))
            worker.store.fail_inserts(unavailable, None, unavailable, None, unavailable)
            inserts, failed = await write(worker, block(3))
            assert inserts == [40, 40, 20, 20, 1, *[1] * 20]
            assert {item.failure.error_class for item in failed} == {ErrorClass.ROW_REFUSED}
            assert len(failed) == 20

    async def test_that_is_too_much_is_not_put_together_again_when_it_is_taken(self, names_row: bool) -> None:
        rules = Rules(is_bad)
        store = OverworkedStore(rules, names_row=names_row)
        async with rig(store) as worker:
            for number in range(3):
                await write(worker, block(number))
            rules.refuses, store.most = lambda _: False, 6
            inserts, failed = await write(worker, block_of(EVENTS, ["bad"]))
            assert inserts == [20, 20, 20, 10, 5, 5, 10, 5, 5]
            assert failed == []


class OverworkedStore(MemoryStore):
    """A store that does not manage more than `most` rows at once."""

    most = 1_000

    async def insert(self, block: Block) -> None:
        if len(block) > self.most:
            self.inserts.append(len(block))
            raise unavailable()
        await super().insert(block)


async def test_a_metric_of_which_some_rows_are_taken_stays_with_the_others() -> None:
    guilty = {EVENTS[number].execution_id for number in range(19)}
    async with rig(MemoryStore(lambda row: row.metric == "bad" and row.event.execution_id in guilty)) as worker:
        for number in range(5):
            inserts, failed = await write(worker, block(number))
            assert inserts[0] == 60
            assert len(failed) == 19


@given(st.data())
async def test_whatever_the_table_refuses_only_the_guilty_rows_fail(data: st.DataObject) -> None:
    """Over blocks in which rules come and go: each good row is in the table, each guilty one is failed."""
    rules = Rules(lambda _: False)
    names = ["a", "b", "c", "d"]
    store = MemoryStore(rules, names_row=data.draw(st.booleans()), names_constraint=data.draw(st.booleans()))
    async with rig(store) as worker:
        for number in range(data.draw(st.integers(3, 7))):
            metrics = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
            shunned = data.draw(st.sets(st.sampled_from(names)))
            odd = data.draw(st.sets(st.integers(0, 5 * len(metrics)), max_size=3))
            rules.refuses = _refusing(shunned, odd)
            events = [event._replace(completed_at=event.completed_at + number) for event in EVENTS[:5]]
            written = block_of(events, metrics)
            before = len(worker.store.table)
            failed = await worker.writer.write(written)
            guilty = {(row.event.execution_id, row.metric) for row in written.rows() if rules(row)}
            assert {(item.event.execution_id, item.metric) for item in failed} == guilty
            assert len(failed) == len(guilty)
            assert len(worker.store.table) - before == len(written) - len(guilty)


def _refusing(metrics: set[str], values: set[int]) -> Callable[[Row], bool]:
    """Refuses rows of these metrics, but for those of these values, which it refuses of all others."""
    return lambda row: (row.metric in metrics) != (row.value in values)


def failures(block: Block, metric: str, failure: Failure) -> list[FailedMetric]:
    return [FailedMetric(row.event, row.metric, row.value, failure, 1) for row in block.rows() if row.metric == metric]


class TestTheMemory:
    def test_learns_nothing_from_an_outage(self) -> None:
        remembered = Apart()
        for number in range(3):
            remembered.learn(block(number), failures(block(number), "bad", AWAY))
        assert "bad" not in remembered
        for number in range(2):
            remembered.learn(block(number), failures(block(number), "bad", REFUSED))
        remembered.learn(block(3), failures(block(3), "bad", AWAY))
        assert "bad" in remembered

    def test_begins_again_after_a_block_that_was_taken(self) -> None:
        remembered = Apart()
        for refused in (True, False, True):
            remembered.learn(block(), failures(block(), "bad", REFUSED) if refused else [])
        assert "bad" not in remembered

    def test_forgets_a_metric_that_does_not_come_any_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apart, "_QUIET", 10)
        remembered = Apart()
        for number in range(2):
            remembered.learn(block(number), failures(block(number), "bad", REFUSED))
        others = block_of(EVENTS, ["good"])
        for _ in range(9):
            remembered.learn(others, [])
            assert "bad" in remembered
        remembered.learn(others, [])
        assert "bad" not in remembered

    def test_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(apart, "_MOST", 5)
        remembered = Apart()
        for name in [f"bad {number}" for number in range(20)]:
            refused = block_of(EVENTS[:1], [name])
            for _ in range(2):
                remembered.learn(refused, failures(refused, name, REFUSED))
        assert [name for name in (f"bad {number}" for number in range(20)) if name in remembered] == [
            f"bad {number}" for number in range(15, 20)
        ]

    def test_divides_a_block_into_the_same_rows(self) -> None:
        remembered = Apart()
        for number in range(2):
            remembered.learn(block(number), failures(block(number), "bad", REFUSED))
        whole = block(9)
        (others, one), (bad, two) = remembered.parts(whole)
        assert (one, two) == (False, True)
        assert list(others.rows()) == [row for row in whole.rows() if not is_bad(row)]
        assert list(bad.rows()) == [row for row in whole.rows() if is_bad(row)]
        assert {others.month, bad.month} == {whole.month}

    def test_leaves_a_block_as_it_is_that_holds_none_of_them(self) -> None:
        remembered = Apart()
        for number in range(2):
            remembered.learn(block(number), failures(block(number), "bad", REFUSED))
        others = block_of(EVENTS, ["good"])
        assert remembered.parts(others) == [(others, False)]
