"""Blocks: rows kept by event, spread by column, and named by a token."""

import struct
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import JANUARY_2026, Record, block_of, many_events, rows_of
from tests.support.fakes import stored_rows
from worker.core.model import Event, Row
from worker.events.block import COLUMNS, Block

EVENT = Event(
    UUID(int=1), "a", None, JANUARY_2026, JANUARY_2026 + 1, {}, Record(None, topic="t", partition=3, offset=9)
)


def block(*rows: Row) -> Block:
    return Block.from_rows(202601, rows)


def identity(made: Block) -> list[tuple[object, ...]]:
    """The rows as ClickHouse sees them: values by their bits."""
    return [(*row[:4], struct.pack("d", row.metric_value), *row[5:]) for row in stored_rows(made)]


class TestDividing:
    @given(st.data())
    def test_puts_every_row_on_its_side_in_order(self, data: st.DataObject) -> None:
        """Also where what is left of an event meets the same event again: equal rows must have equal tokens."""
        events = many_events(3)
        some = st.builds(Row, st.sampled_from(events), st.sampled_from("abc"), st.integers(0, 9))
        rows = data.draw(st.lists(some, max_size=20))
        positions = data.draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
        chosen, others = block(*rows).partition_rows(positions)
        for part, inside in ((chosen, True), (others, False)):
            expected = block(*(row for position, row in enumerate(rows) if (position in positions) is inside))
            assert (part.events, part.counts, part.metrics) == (expected.events, expected.counts, expected.metrics)
            assert part.deduplication_token() == expected.deduplication_token()


class TestColumns:
    def test_are_those_that_the_insert_names(self) -> None:
        made = Block(202601)
        made.add_rows(EVENT, ["x", "y"], [1, 2.5])
        assert dict(zip(COLUMNS, made.columns(), strict=True)) == {
            "execution_id": [UUID(int=1)] * 2,
            "agent_name": ["a"] * 2,
            "user_id": [None] * 2,
            "metric_type": ["x", "y"],
            "metric_value": [1, 2.5],
            "completed_at": [JANUARY_2026] * 2,
            "recorded_at": [JANUARY_2026 + 1] * 2,
            "source_topic": ["t"] * 2,
            "source_partition": [3] * 2,
            "source_offset": [9] * 2,
        }

    @given(strategies.row_lists())
    def test_spread_every_row_right(self, lists: list[list[Row]]) -> None:
        (rows,) = lists
        made = block(*rows)
        assert [tuple(values) for values in zip(*made.columns(), strict=True)] == [
            (
                row.event.execution_id,
                row.event.agent_name,
                row.event.user_id,
                row.metric,
                row.value,
                row.event.completed_at,
                row.event.recorded_at,
                row.event.record.topic,
                row.event.record.partition,
                row.event.record.offset,
            )
            for row in rows
        ]

    def test_of_no_rows_are_empty(self) -> None:
        made = Block(202601)
        made.add_rows(EVENT, [], [])
        assert len(made) == 0
        assert made.columns() == [[] for _ in COLUMNS]


class TestRows:
    @given(strategies.row_lists())
    def test_come_back_as_they_went_in(self, lists: list[list[Row]]) -> None:
        (rows,) = lists
        made = block(*rows)
        assert rows_of(made) == rows
        assert len(made) == len(rows)
        assert made.month == 202601

    @given(st.lists(st.integers(0, 3), max_size=5))
    def test_of_events_with_several_metrics_come_back_too(self, counts: list[int]) -> None:
        made = Block(202601)
        expected = []
        for item, count in zip(many_events(len(counts)), counts, strict=True):
            names = [f"m{number}" for number in range(count)]
            made.add_rows(item, names, list(range(count)))
            expected += [Row(item, name, number) for number, name in enumerate(names)]
        assert rows_of(made) == expected
        assert rows_of(Block.from_rows(202601, made.rows())) == expected


class TestToken:
    @given(strategies.row_lists(max_lists=2))
    def test_is_equal_if_and_only_if_the_rows_are(self, lists: list[list[Row]]) -> None:
        one, other = (block(*rows) for rows in lists)
        assert (one.deduplication_token() == other.deduplication_token()) == (identity(one) == identity(other))

    @given(st.data())
    def test_changes_with_any_change(self, data: st.DataObject) -> None:
        (rows,) = data.draw(strategies.row_lists())
        change = data.draw(st.sampled_from([_drop, _repeat, _swap, _another_value, _another_metric, _another_event]))
        changed = change(data, list(rows)) if rows else [Row(EVENT, "m", 1)]
        one, other = block(*rows), block(*changed)
        assert (one.deduplication_token() == other.deduplication_token()) == (identity(one) == identity(other))

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param(EVENT._replace(execution_id=UUID(int=2)), id="execution_id"),
            pytest.param(EVENT._replace(agent_name="b"), id="agent_name"),
            pytest.param(EVENT._replace(user_id=""), id="user_id"),
            pytest.param(EVENT._replace(user_id="null"), id="user_id named null"),
            pytest.param(EVENT._replace(completed_at=JANUARY_2026 + 1), id="completed_at"),
            pytest.param(EVENT._replace(recorded_at=JANUARY_2026), id="recorded_at"),
            pytest.param(EVENT._replace(record=Record(None, topic="u", partition=3, offset=9)), id="topic"),
            pytest.param(EVENT._replace(record=Record(None, topic="t", partition=4, offset=9)), id="partition"),
            pytest.param(EVENT._replace(record=Record(None, topic="t", partition=3, offset=8)), id="offset"),
        ],
    )
    def test_changes_with_every_field_of_the_event(self, changed: Event) -> None:
        assert block(Row(EVENT, "m", 1)).deduplication_token() != block(Row(changed, "m", 1)).deduplication_token()

    def test_is_the_same_however_the_rows_were_added(self) -> None:
        many = block_of(many_events(20), ["a", "b", "c"])
        assert Block.from_rows(many.month, many.rows()).deduplication_token() == many.deduplication_token()
        several = Block(many.month)
        several.add_rows(EVENT, [], [])
        for row in many.rows():
            several.add_rows(row.event, [row.metric], [row.value])
            several.add_rows(row.event, [], [])
        assert several.deduplication_token() == many.deduplication_token()

    def test_is_the_same_in_another_process(self) -> None:
        # Redelivered after a crash: nothing of this process, such as its hash seed, may be in it.
        assert block(Row(EVENT, "m", 1)).deduplication_token() == "f78c76f9c6e5a0da0f1cf60ba7ddca87"

    @pytest.mark.parametrize("value", [1, 1.0, True])
    def test_is_that_of_the_float_that_is_stored(self, value: float) -> None:
        assert block(Row(EVENT, "m", value)).deduplication_token() == block(Row(EVENT, "m", 1)).deduplication_token()

    def test_tells_the_zeros_apart(self) -> None:
        assert block(Row(EVENT, "m", 0.0)).deduplication_token() != block(Row(EVENT, "m", -0.0)).deduplication_token()

    def test_tells_names_apart_that_are_one_when_joined(self) -> None:
        one = block(Row(EVENT, "a", 1), Row(EVENT, "bc", 1))
        other = block(Row(EVENT, "ab", 1), Row(EVENT, "c", 1))
        assert one.deduplication_token() != other.deduplication_token()


def _drop(data: st.DataObject, rows: list[Row]) -> list[Row]:
    del rows[data.draw(st.integers(0, len(rows) - 1))]
    return rows


def _repeat(data: st.DataObject, rows: list[Row]) -> list[Row]:
    return [*rows, rows[data.draw(st.integers(0, len(rows) - 1))]]


def _swap(data: st.DataObject, rows: list[Row]) -> list[Row]:
    return data.draw(st.permutations(rows))


def _another_value(data: st.DataObject, rows: list[Row]) -> list[Row]:
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = rows[at]._replace(value=data.draw(strategies.numbers))
    return rows


def _another_metric(data: st.DataObject, rows: list[Row]) -> list[Row]:
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = rows[at]._replace(metric=data.draw(strategies.metric_names))
    return rows


def _another_event(data: st.DataObject, rows: list[Row]) -> list[Row]:
    at = data.draw(st.integers(0, len(rows) - 1))
    rows[at] = rows[at]._replace(event=data.draw(strategies.events)._replace(agent_name="another"))
    return rows
