"""A block as bytes: the same ones that clickhouse-driver makes of its columns."""

from types import SimpleNamespace
from typing import Any

import pytest
from clickhouse_driver import defines
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedwriter import CompressedBufferedWriter
from clickhouse_driver.connection import Connection
from clickhouse_driver.streams.native import BlockOutputStream
from hypothesis import given

from tests.support import strategies
from tests.support.events import JANUARY_2026, Record, block_of, many_events
from worker.clickhouse.client import send_block
from worker.clickhouse.encoding import ENCODERS
from worker.core.model import Event, Row
from worker.events.block import COLUMNS, Block

TYPES = [(name, ENCODERS[name][0]) for name in COLUMNS]
LATER = defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
EVENT = Event("e-1", "a", None, JANUARY_2026, JANUARY_2026 + 1, {}, Record(None, "t", 3, 9))


class Wire:
    """A connection of the driver whose socket is a buffer."""

    def __init__(self, revision: int) -> None:
        self._sent = bytearray()
        self.fout = CompressedBufferedWriter(SimpleNamespace(write=self._sent.__iadd__), 1 << 20)
        self.server_info = SimpleNamespace(used_revision=revision, get_timezone=lambda: "UTC")
        settings = {"strings_as_bytes": False, "strings_encoding": "utf-8", "use_numpy": False}
        self.context = SimpleNamespace(client_settings=settings, settings={}, server_info=self.server_info)
        self.block_out = BlockOutputStream(self.fout, self.context)

    def sent(self) -> bytes:
        self.fout.flush()
        return bytes(self._sent)


def by_the_driver(block: Block, types: list[tuple[str, str]], revision: int) -> bytes:
    wire = Wire(revision)
    columns: dict[str, list[Any]] = dict(zip(COLUMNS, map(list, block.columns()), strict=True))
    Connection.send_data(wire, ColumnOrientedBlock(types, [columns[name] for name, _ in types]))
    return wire.sent()


def by_us(block: Block, types: list[tuple[str, str]], revision: int) -> bytes:
    wire = Wire(revision)
    send_block(wire, types, block)
    return wire.sent()


@given(strategies.row_lists())
@pytest.mark.parametrize("revision", [LATER - 1, LATER])
def test_any_rows_are_encoded_as_by_the_driver(revision: int, lists: list[list[Row]]) -> None:
    (rows,) = lists
    block = Block.from_rows(202601, rows or [Row(EVENT, "m", 1)])
    assert by_us(block, TYPES, revision) == by_the_driver(block, TYPES, revision)


@pytest.mark.parametrize("different", [1, 2, 127, 128, 255, 256, 257])
def test_dictionaries_of_any_length_are_encoded_as_by_the_driver(different: int) -> None:
    """A dictionary's indexes are as wide as it is long."""
    block = Block(202601)
    for number in range(different):
        labels = ((f"label {number}", "a"), ("z", f"value {number}"))
        agent = EVENT._replace(
            agent_name=f"agent {number}", record=Record(None, topic=f"topic {number}"), labels=labels
        )
        block.add_rows(agent, (f"metric {number}", "again"), (number, -number))
    assert by_us(block, TYPES, LATER) == by_the_driver(block, TYPES, LATER)


@pytest.mark.parametrize("different", [65_535, 65_536, 65_537])
def test_long_dictionary_is_encoded_as_by_the_driver(different: int) -> None:
    """Of one column: the width of the indexes is worked out alike for all."""
    block = Block(202601)
    block.add_rows(EVENT, tuple(f"metric {number}" for number in range(different)), range(different))
    assert by_us(block, TYPES, LATER) == by_the_driver(block, TYPES, LATER)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 300_000])
@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_strings_of_any_length_are_encoded_as_by_the_driver(length: int, letter: str) -> None:
    texts = EVENT._replace(execution_id=letter * length, user_id=letter * length, labels=((letter * length, "v"),))
    block = Block.from_rows(202601, [Row(texts, "m", 1), Row(EVENT, "n", 2)])
    assert by_us(block, TYPES, LATER) == by_the_driver(block, TYPES, LATER)


@pytest.mark.parametrize(
    ("name", "type_name"),
    [
        ("user_id", "LowCardinality(Nullable(String))"),
        ("agent_name", "String"),
        ("execution_id", "LowCardinality(String)"),
        ("labels", "Map(String, LowCardinality(String))"),
        ("metric_value", "Nullable(Float64)"),
        ("version", "UInt256"),
        ("completed_at", "DateTime64(3)"),
    ],
)
def test_altered_column_type_is_encoded_by_the_driver(name: str, type_name: str) -> None:
    types = [(column, type_name if column == name else usual) for column, usual in TYPES]
    block = block_of(many_events(20), ["a", "b"])
    assert by_us(block, types, LATER) == by_the_driver(block, types, LATER)


def test_columns_are_sent_in_the_order_of_the_server() -> None:
    block = block_of(many_events(2_000), [f"metric_{number}" for number in range(40)])
    assert by_us(block, TYPES[::-1], LATER) == by_the_driver(block, TYPES[::-1], LATER)


def test_value_that_cannot_be_encoded_is_raised_before_a_byte_is_sent() -> None:
    wire = Wire(LATER)
    block = Block.from_rows(202601, [Row(EVENT, "m", 1), Row(EVENT._replace(user_id="\ud800"), "m", 1)])
    with pytest.raises(UnicodeEncodeError):
        send_block(wire, TYPES, block)
    assert wire.sent() == b""
