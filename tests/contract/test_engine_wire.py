"""Blocks are read from the network, whatever the size of its pieces."""

from __future__ import annotations

import io
import os
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedwriter import BufferedSocketWriter
from clickhouse_driver.streams.native import BlockOutputStream

from deploy.local.engine.block import BLOCK_INFO, BlockFile, receive_block, split_result
from deploy.local.engine.columns import column_of
from deploy.local.engine.errors import ProtocolError, ServerError
from deploy.local.engine.protocol import REVISION
from deploy.local.engine.wire import WireReader, encode_string, encode_varint
from tests.contract.values import VALUES

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = {"use_numpy": False, "strings_as_bytes": False, "strings_encoding": "utf-8"}


class Recorder(io.BytesIO):
    """Records what the driver would send."""

    def sendall(self, data: bytes) -> None:
        self.write(data)


def encoded(columns: dict[str, list[Any]]) -> bytes:
    """A block as the driver writes it."""
    context = SimpleNamespace(
        server_info=SimpleNamespace(used_revision=REVISION, get_timezone=lambda: "UTC"),
        client_settings=SETTINGS,
        settings={},
    )
    recorder = Recorder()
    block = ColumnOrientedBlock([("c", name) for name in columns], [list(values) for values in columns.values()])
    BlockOutputStream(BufferedSocketWriter(recorder, 1 << 20), context).write(block)
    return recorder.getvalue()


def in_pieces(data: bytes, size: int) -> Callable[[memoryview], int]:
    """A network that delivers `data` in pieces of at most `size` bytes."""
    stream = io.BytesIO(data)
    return lambda view: stream.readinto(view[:size])


def contents(file: BlockFile) -> bytes:
    with open(file.path, "rb") as opened:  # noqa: PTH123 - a descriptor's path
        return opened.read()


@pytest.mark.parametrize("size", [1, 2, 7, 64, 4096, 1 << 20])
@pytest.mark.parametrize("type_name", VALUES)
def test_end_of_a_block_is_found(type_name: str, size: int) -> None:
    block = encoded({type_name: VALUES[type_name]})
    reader = WireReader(in_pieces(block + b"\x04rest", size), size=max(size, 16))
    file = BlockFile()
    try:
        assert receive_block(reader, file)
        assert contents(file) == block.removeprefix(BLOCK_INFO)
        assert reader.take(5) == b"\x04rest"
        assert file.rows == 3
    finally:
        file.close()


def test_discarded_block_is_skipped() -> None:
    block = encoded(VALUES)
    reader = WireReader(in_pieces(block + b"!", 100))

    assert receive_block(reader, None)
    assert reader.take(1) == b"!"


def test_result_is_split_into_its_blocks() -> None:
    blocks = [encoded({name: values}).removeprefix(BLOCK_INFO) for name, values in VALUES.items()]

    found = list(split_result(b"".join(blocks)))

    assert [block.rows for block in found] == [3] * len(blocks)
    assert [block.columns[0].type_name for block in found] == list(VALUES)


def test_truncated_block_raises_eof() -> None:
    block = encoded(VALUES)

    for length in (0, 1, 20, len(block) // 2, len(block) - 1):
        with pytest.raises(EOFError):
            receive_block(WireReader(in_pieces(block[:length], 50)), None)


def test_unknown_type_in_a_block_is_a_protocol_error() -> None:
    block = BLOCK_INFO + b"\x01\x01" + encode_string("c") + encode_string("JSON")

    with pytest.raises(ProtocolError, match="JSON"):
        receive_block(WireReader(in_pieces(block, 50)), None)


@pytest.mark.parametrize(
    "type_name", ["JSON", "Dynamic", "Variant(UInt8, String)", "Array(JSON)", "", "(", "Decimal(99, 2)"]
)
def test_type_without_a_known_layout_is_code_48(type_name: str) -> None:
    with pytest.raises(ServerError) as caught:
        column_of(type_name)
    assert caught.value.code == 48


def test_string_of_an_impossible_size_is_refused() -> None:
    with pytest.raises(ProtocolError, match="Too large string size"):
        WireReader(in_pieces(encode_varint(1 << 40), 50)).raw_string()


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_varint_round_trip(value: int) -> None:
    assert WireReader(in_pieces(encode_varint(value), 1)).varint() == value


def test_closed_block_file_is_removed() -> None:
    file = BlockFile()
    path = file.path
    file.write(struct.pack("<Q", 1))
    file.close()

    assert not os.path.exists(path)  # noqa: PTH110 - a descriptor's path
