"""Where a refused block is cut, and what it costs to find the guilty rows."""

import random
from collections import Counter
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.events import block_of, many_events, rows_of
from tests.support.fakes import MemoryStore
from tests.support.rig import rig
from worker.errors import ErrorClass
from worker.model import FailedMetric, Row
from worker.writing.split import split

METRICS = [f"metric_{number}" for number in range(10)]
A_FEW_EVENTS = many_events(8)
EVENTS = many_events(10_000)

pieces = st.lists(
    st.builds(
        Row,
        st.sampled_from(A_FEW_EVENTS),
        st.one_of(st.sampled_from(["a", "b"]), st.integers(0, 40).map("m{}".format)),
        st.integers(0, 5).map(float),
    ),
    min_size=2,
    max_size=60,
)


def bag(rows: Collection[Row]) -> Counter[tuple[object, ...]]:
    return Counter((id(row.event), row.metric, row.value) for row in rows)


class TestPieces:
    @given(pieces, st.one_of(st.none(), st.integers(-5, 80)))
    def test_are_the_same_rows_and_each_is_smaller(self, rows: list[Row], named: int | None) -> None:
        parts = split(rows, named)
        assert sum((bag(part) for part in parts), Counter()) == bag(rows)
        assert all(0 < len(part) < len(rows) for part in parts)

    @given(pieces, st.randoms(use_true_random=False))
    def test_end_at_single_rows(self, rows: list[Row], chance: random.Random) -> None:
        waiting, single, cuts = [rows], 0, 0
        while waiting:
            piece = waiting.pop()
            if len(piece) == 1:
                single += 1
                continue
            cuts += 1
            waiting += [list(part) for part in split(piece, chance.choice([None, chance.randrange(len(piece))]))]
        assert single == len(rows)
        assert cuts < len(rows)

    @given(pieces, st.one_of(st.none(), st.integers(0, 59)))
    def test_keep_the_order_of_the_rows(self, rows: list[Row], named: int | None) -> None:
        positions = {id(row): position for position, row in enumerate(rows)}
        for part in split(rows, named):
            found = [positions[id(row)] for row in part]
            assert found == sorted(found)

    def test_part_the_metrics_before_the_rows(self) -> None:
        rows = rows_of(block_of(A_FEW_EVENTS, ["a", "b", "c"]))
        assert [{row.metric for row in part} for part in split(rows)] == [{"a"}, {"b"}, {"c"}]

    def test_are_few_however_many_metrics_there_are(self) -> None:
        rows = rows_of(block_of(A_FEW_EVENTS, [f"m{number}" for number in range(1_000)]))
        assert len(split(rows)) == 16

    def test_put_the_metric_of_a_named_row_alone(self) -> None:
        rows = rows_of(block_of(A_FEW_EVENTS, ["a", "b", "c"]))
        suspect, *others = split(rows, named=22)
        assert {row.metric for row in suspect} == {"b"}
        assert len(others) == 1

    def test_put_a_named_row_alone_where_there_is_one_metric(self) -> None:
        rows = rows_of(block_of(A_FEW_EVENTS, ["a"]))
        assert split(rows, named=5) == [rows[5:6], [*rows[:5], *rows[6:]]]

    def test_after_a_named_row_are_as_long_as_what_was_sound_before_it(self) -> None:
        rows = rows_of(block_of(many_events(1_000), ["a", "b", "c"]))
        assert split(rows, named=900) == [rows[900:901], rows[:900], rows[901:1801], rows[1801:2701], rows[2701:]]

    def test_after_a_named_row_are_few(self) -> None:
        rows = rows_of(block_of(many_events(32_000), ["a"]))
        assert [len(part) for part in split(rows, named=2_001)] == [1, 2_001, *[2_001] * 14, 1_984]

    def test_halve_the_rest_where_many_rows_are_likely_to_be_guilty(self) -> None:
        rows = rows_of(block_of(many_events(33), ["a"]))
        assert split(rows, named=0) == [rows[:1], rows[1:17], rows[17:]]

    @pytest.mark.parametrize("named", [-1, 8, 10**9])
    def test_heed_no_name_that_is_no_position(self, named: int) -> None:
        rows = rows_of(block_of(A_FEW_EVENTS, ["a"]))
        assert split(rows, named) == split(rows)


async def isolate(guilty: Collection[float], *, events: int, names_row: bool) -> tuple[MemoryStore, list[FailedMetric]]:
    """Write ten rows for each of `events` events, of which those with a value in `guilty` are refused."""
    refused = frozenset(guilty)
    store = MemoryStore(lambda row: row.value in refused, names_row=names_row)
    async with rig(store) as worker:
        failed = await worker.writer.write(block_of(EVENTS[:events], METRICS))
    return store, failed


# A row's value is its position: ten times the event, plus the metric.
_chance = random.Random(20260131)
PLACEMENTS = {
    **{f"anywhere {number}": _chance.sample(range(100_000), 3) for number in range(2)},
    "first": [0, 1, 2],
    "last": [99_997, 99_998, 99_999],
    "the first of one metric": [0, 10, 20],
    "the last of one metric": [99_979, 99_989, 99_999],
    "across one metric": [5, 50_005, 99_995],
    "far apart in different metrics": [0, 50_005, 99_999],
    "one event": [50_000, 50_004, 50_009],
}


class TestTheCost:
    @pytest.mark.parametrize(("names_row", "most"), [(False, 100), (True, 30)])
    @pytest.mark.parametrize("guilty", PLACEMENTS.values(), ids=PLACEMENTS)
    async def test_of_three_guilty_rows_in_a_hundred_thousand(
        self, guilty: list[int], names_row: bool, most: int
    ) -> None:
        store, failed = await isolate(guilty, events=10_000, names_row=names_row)
        assert sorted(item.value for item in failed if not isinstance(item.value, tuple)) == sorted(guilty)
        assert {item.failure.error_class for item in failed} == {ErrorClass.ROW_REFUSED}
        assert len(store.table) == 99_997
        assert len({row.metric_value for row in store.table} | set(guilty)) == 100_000
        assert len(store.inserts) <= most

    @pytest.mark.parametrize(("names_row", "most"), [(False, 2 * 1_000), (True, 2 * 1_000)])
    async def test_of_a_metric_that_is_always_refused(self, names_row: bool, most: int) -> None:
        """Every row of it has an insert of its own, and about as many again lead there; the others cost ten."""
        store, failed = await isolate(range(3, 10_000, 10), events=1_000, names_row=names_row)
        assert {item.metric for item in failed} == {"metric_3"}
        assert len(failed) == 1_000
        assert len(store.table) == 9_000
        assert len(store.inserts) <= most + 10

    @pytest.mark.parametrize("names_row", [False, True])
    async def test_of_nothing_but_guilty_rows(self, names_row: bool) -> None:
        store, failed = await isolate(range(1_000), events=100, names_row=names_row)
        assert len(failed) == 1_000
        assert store.table == []
        assert len(store.inserts) <= 2 * 1_000 + 10

    async def test_of_a_guilty_row_alone(self) -> None:
        store, failed = await isolate([50_005], events=10_000, names_row=True)
        assert len(failed) == 1
        assert store.inserts == [100_000, 1, 50_005, 49_994], "the whole, the row, what is before it, what is after it"
