"""Blocks: rows kept by event, repeated by column, and identified by a token."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import JANUARY_2026, Record, block_of, many_events
from tests.support.fakes import stored_rows
from worker.core.model import Event, Row
from worker.events.block import COLUMNS, Block

SOURCE = Record(None, topic="t", partition=3, offset=9)
EVENT = Event("e-1", "a", None, JANUARY_2026, JANUARY_2026 + 1, {}, SOURCE)


def block(*rows: Row) -> Block:
    return Block.from_rows(202601, rows)


def identity(made: Block) -> list[tuple[object, ...]]:
    """The rows as ClickHouse sees them: values by their bits."""
    return [(*row[:5], struct.pack("d", row.metric_value), *row[6:]) for row in stored_rows(made)]


@given(st.data())
def test_partition_puts_every_row_on_its_side_in_order(data: st.DataObject) -> None:
    """Also if rows of one event become neighbours: equal rows must have equal tokens."""
    row = st.builds(Row, st.sampled_from(many_events(3)), st.sampled_from("abc"), st.integers(0, 9))
    rows = data.draw(st.lists(row, max_size=20))
    positions = data.draw(st.sets(st.sampled_from(range(len(rows))))) if rows else set()
    chosen, others = block(*rows).split_rows(positions)
    for part, is_chosen in ((chosen, True), (others, False)):
        expected = block(*(row for position, row in enumerate(rows) if (position in positions) is is_chosen))
        assert (part.events, part.counts, part.names) == (expected.events, expected.counts, expected.names)
        assert part.deduplication_token() == expected.deduplication_token()


def test_token_and_columns_have_rows_that_were_added_after_an_earlier_token() -> None:
    first, second = many_events(2)
    made, expected = block(Row(first, "a", 1)), block(Row(first, "a", 1), Row(second, "b", 2))
    made.deduplication_token()
    made.add_rows(second, ("b",), (2,))
    assert made.deduplication_token() == expected.deduplication_token()
    assert made.columns() == expected.columns()


@given(strategies.row_lists())
def test_columns_have_a_value_for_each_row(lists: list[list[Row]]) -> None:
    (rows,) = lists
    columns = block(*rows).columns()
    assert [dict(zip(COLUMNS, values, strict=True)) for values in zip(*columns, strict=True)] == [
        {
            "execution_id": row.event.execution_id,
            "agent_name": row.event.agent_name,
            "user_id": row.event.user_id,
            "labels": dict(row.event.labels),
            "metric_type": row.metric,
            "metric_value": row.value,
            "completed_at": row.event.completed_at,
            "version": (row.event.recorded_at << 64) + row.event.record.offset,
            "source_topic": row.event.record.topic,
            "source_partition": row.event.record.partition,
        }
        for row in rows
    ]


class TestToken:
    @given(strategies.row_lists(max_lists=2))
    def test_is_equal_if_and_only_if_the_rows_are(self, lists: list[list[Row]]) -> None:
        one, other = (block(*rows) for rows in lists)
        assert (one.deduplication_token() == other.deduplication_token()) == (identity(one) == identity(other))

    @pytest.mark.parametrize(
        "change",
        [
            *({"execution_id": "e-2"}, {"agent_name": "b"}, {"user_id": ""}, {"user_id": "null"}),
            *({"labels": (("a", "b"),)}, {"labels": (("a", ""),)}, {"labels": (("a", "b"), ("c", "d"))}),
            *({"completed_at": JANUARY_2026 + 1}, {"recorded_at": JANUARY_2026}),
            *({"record": SOURCE._replace(**change)} for change in ({"topic": "u"}, {"partition": 4}, {"offset": 8})),
        ],
        ids=str,
    )
    def test_differs_for_every_field_of_the_event(self, change: dict[str, Any]) -> None:
        changed = EVENT._replace(**change)
        assert block(Row(EVENT, "m", 1)).deduplication_token() != block(Row(changed, "m", 1)).deduplication_token()

    def test_is_the_same_however_the_rows_were_added(self) -> None:
        many = block_of(many_events(20), ["a", "b", "c"])
        assert Block.from_rows(many.month, many.rows()).deduplication_token() == many.deduplication_token()
        several = Block(many.month)
        several.add_rows(EVENT, (), [])
        for row in many.rows():
            several.add_rows(row.event, (row.metric,), [row.value])
            several.add_rows(row.event, (), [])
        assert several.deduplication_token() == many.deduplication_token()

    @pytest.mark.parametrize(
        ("one", "other", "are_equal"),
        [
            ({"m": 1}, {"m": 1.0}, True),
            ({"m": 1}, {"m": True}, True),
            ({"m": 0.0}, {"m": -0.0}, False),
            ({"a": 1, "bc": 1}, {"ab": 1, "c": 1}, False),
        ],
        ids=["float", "boolean", "negative zero", "names that are equal when joined"],
    )
    def test_depends_on_the_stored_values_and_on_where_names_end(
        self, one: dict[str, float], other: dict[str, float], are_equal: bool
    ) -> None:
        first, second = (block(*(Row(EVENT, *item) for item in rows.items())) for rows in (one, other))
        assert (first.deduplication_token() == second.deduplication_token()) is are_equal
