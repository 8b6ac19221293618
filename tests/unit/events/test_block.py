"""Blocks: rows kept by event, repeated by column, and identified by a token."""

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


@given(st.data())
def test_partition_puts_every_row_on_its_side_in_order(data: st.DataObject) -> None:
    """Also if rows of one event become neighbours: equal rows must have equal tokens."""
    row = st.builds(Row, st.sampled_from(many_events(3)), st.sampled_from("abc"), st.integers(0, 9))
    rows = data.draw(st.lists(row, max_size=20))
    positions = data.draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
    chosen, others = block(*rows).split_rows(positions)
    for part, is_chosen in ((chosen, True), (others, False)):
        expected = block(*(row for position, row in enumerate(rows) if (position in positions) is is_chosen))
        assert (part.events, part.counts, part.metrics) == (expected.events, expected.counts, expected.metrics)
        assert part.deduplication_token() == expected.deduplication_token()


@given(strategies.row_lists())
def test_columns_have_a_value_for_each_row(lists: list[list[Row]]) -> None:
    (rows,) = lists
    columns = block(*rows).columns()
    assert [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)] == [
        {
            "execution_id": row.event.execution_id,
            "agent_name": row.event.agent_name,
            "user_id": row.event.user_id,
            "metric_type": row.metric,
            "metric_value": row.value,
            "completed_at": row.event.completed_at,
            "recorded_at": row.event.recorded_at,
            "source_topic": row.event.record.topic,
            "source_partition": row.event.record.partition,
            "source_offset": row.event.record.offset,
        }
        for row in rows
    ]


def test_columns_of_no_rows_are_empty() -> None:
    made = Block(202601)
    made.add_rows(EVENT, [], [])
    assert len(made) == 0
    assert made.columns() == [[] for _ in COLUMNS]


@given(strategies.row_lists())
def test_rows_come_back_in_order(lists: list[list[Row]]) -> None:
    (rows,) = lists
    made = block(*rows)
    assert rows_of(made) == rows
    assert len(made) == len(rows)
    assert made.month == 202601


@given(st.lists(st.integers(0, 3), max_size=5))
def test_rows_of_events_with_several_metrics_come_back_in_order(counts: list[int]) -> None:
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
    def test_differs_for_every_field_of_the_event(self, changed: Event) -> None:
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
        # A batch may be redelivered after a crash: the token must not depend on the process, such as its hash seed.
        assert block(Row(EVENT, "m", 1)).deduplication_token() == "f78c76f9c6e5a0da0f1cf60ba7ddca87"

    @pytest.mark.parametrize("value", [1, 1.0, True])
    def test_is_that_of_the_float_that_is_stored(self, value: float) -> None:
        assert block(Row(EVENT, "m", value)).deduplication_token() == block(Row(EVENT, "m", 1)).deduplication_token()

    def test_differs_for_zero_and_negative_zero(self) -> None:
        assert block(Row(EVENT, "m", 0.0)).deduplication_token() != block(Row(EVENT, "m", -0.0)).deduplication_token()

    def test_differs_for_names_that_are_equal_when_joined(self) -> None:
        one = block(Row(EVENT, "a", 1), Row(EVENT, "bc", 1))
        other = block(Row(EVENT, "ab", 1), Row(EVENT, "c", 1))
        assert one.deduplication_token() != other.deduplication_token()
