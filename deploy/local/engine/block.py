"""Blocks: the unit in which the native protocol transfers rows, in both directions.

At the protocol revision of this server a block is BlockInfo followed by the bytes of the `Native` format
(src/Formats/NativeReader.cpp, NativeWriter.cpp), so data passes between client and engine without being parsed.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from deploy.local.engine.columns import column_of
from deploy.local.engine.errors import NOT_IMPLEMENTED, ProtocolError, ServerError
from deploy.local.engine.wire import WireReader, encode_string, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# BlockInfo::write in src/Core/BlockInfo.cpp: field 1 is_overflows = 0, field 2 bucket_num = -1, 0 ends the fields.
BLOCK_INFO = b"\x01\x00" + b"\x02\xff\xff\xff\xff" + b"\x00"


@dataclass(frozen=True)
class ColumnSlice:
    """The position of the bytes of one column in a result."""

    name: str
    type_name: str
    start: int
    end: int


@dataclass(frozen=True)
class Block:
    """One block of a result: the number of its rows, and its columns."""

    rows: int
    columns: tuple[ColumnSlice, ...]


class BlockFile:
    """A file that the engine can read by its path: a memfd, or a temporary file on systems without memfd."""

    def __init__(self) -> None:
        self._file: IO[bytes]
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("blocks")
            self._file = os.fdopen(descriptor, "wb", buffering=0)
            self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        else:
            self._file = tempfile.NamedTemporaryFile("wb", buffering=0)  # noqa: SIM115 - close() closes it
            self.path = self._file.name
        self.rows = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        """Release the memory."""
        self._file.close()


def receive_block(reader: WireReader, file: BlockFile | None) -> bool:
    """Read one block and append it to `file`, or discard it if `file` is None.

    Returns:
        False for the empty block that ends the data.

    Raises:
        ProtocolError: the type of a column is not supported, so the end of the block cannot be found.
    """
    skip_block_info(reader)
    columns, rows = reader.varint(), reader.varint()
    if not columns:
        return False
    if file is None or not rows:
        _skip_columns(reader, columns, rows)
        return True
    file.write(encode_varint(columns) + encode_varint(rows))
    with reader.copying(file.write):
        _skip_columns(reader, columns, rows)
    file.rows += rows
    return True


def skip_block_info(reader: WireReader) -> None:
    """Skip numbered fields up to a zero, as BlockInfo::read."""
    while field := reader.varint():
        if field not in (1, 2):
            raise ProtocolError(NOT_IMPLEMENTED, f"Unknown BlockInfo field {field}")
        reader.skip(1 if field == 1 else 4)


def _skip_columns(reader: WireReader, columns: int, rows: int) -> None:
    for _ in range(columns):
        reader.raw_string()
        try:
            column = column_of(reader.string())
        except ServerError as error:
            raise ProtocolError(error.code, error.text) from error
        if rows:
            column.skip_prefix(reader)
            column.skip_data(reader, rows)


def split_result(data: bytes) -> Iterator[Block]:
    """The blocks of a result in the `Native` format.

    Raises:
        ServerError: NOT_IMPLEMENTED for a column whose type is not supported.
    """
    reader = WireReader.over(data)
    while not reader.at_end():
        columns, rows = reader.varint(), reader.varint()
        yield Block(rows, tuple(_column_slice(reader, rows) for _ in range(columns)))


def _column_slice(reader: WireReader, rows: int) -> ColumnSlice:
    name, type_name = reader.string(), reader.string()
    start = reader.tell()
    if rows:
        column = column_of(type_name)
        column.skip_prefix(reader)
        column.skip_data(reader, rows)
    return ColumnSlice(name, type_name, start, reader.tell())


def encode_header(columns: Sequence[tuple[str, str]]) -> bytes:
    """Encode a block of no rows: the names and types of the columns that follow in either direction."""
    encoded = bytearray(BLOCK_INFO + encode_varint(len(columns)) + encode_varint(0))
    for name, type_name in columns:
        encoded += encode_string(name) + encode_string(type_name)
    return bytes(encoded)


def encode_block(data: bytes, block: Block, header: Sequence[tuple[str, str]]) -> Iterator[bytes | memoryview]:
    """Encode a block of a result, in pieces, with the names and types of `header`."""
    view = memoryview(data)
    yield BLOCK_INFO + encode_varint(len(block.columns)) + encode_varint(block.rows)
    for column, (name, type_name) in zip(block.columns, header, strict=True):
        yield encode_string(name) + encode_string(type_name)
        yield view[column.start : column.end]


def encode_only_block(data: bytes, rows: int) -> Iterator[bytes]:
    """Encode a result of `rows` rows in one block, whatever the types of its columns.

    Raises:
        ServerError: NOT_IMPLEMENTED when the result has more than one block.
    """
    reader = WireReader.over(data)
    reader.varint()  # columns
    if reader.varint() != rows:
        raise ServerError(NOT_IMPLEMENTED, "The local engine server sends a shard's part of a query in one block")
    yield BLOCK_INFO
    yield data
