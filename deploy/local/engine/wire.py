"""The primitives of the protocol: numbers and strings, and a reader that can skip data without parsing it."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deploy.local.engine.errors import TOO_LARGE_STRING_SIZE, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUFFER_SIZE = 1 << 20
# DEFAULT_MAX_STRING_SIZE in ClickHouse's src/Core/Defines.h.
MAX_STRING_SIZE = 1 << 30

INT32 = struct.Struct("<i")
UINT64 = struct.Struct("<Q")


def encode_varint(value: int) -> bytes:
    """Encode as LEB128, as `writeVarUInt` in ClickHouse's src/IO/VarInt.h."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(value: str | bytes) -> bytes:
    """Encode the length as a varint, then the bytes."""
    data = value.encode() if isinstance(value, str) else value
    return encode_varint(len(data)) + data


class WireReader:
    """A buffered reader.

    `receive_into` fills a buffer and returns the number of bytes; for 0, the end, the reader raises EOFError. Inside
    `copying` all consumed bytes are also passed, in pieces, to a function: so a block is written to a file without
    Python objects for its values.
    """

    def __init__(self, receive_into: Callable[[memoryview], int], size: int = BUFFER_SIZE) -> None:
        self._receive_into = receive_into
        self._buffer: bytearray | bytes = bytearray(size)
        self._view = memoryview(self._buffer)
        self._position = 0
        self._end = 0
        self._copy: Callable[[memoryview], None] | None = None
        self._copied = 0  # bytes before this offset were passed to the copy function

    @classmethod
    def over(cls, data: bytes) -> WireReader:
        """Create a reader of bytes in memory; `tell` returns offsets into them."""
        reader = cls(lambda _: 0, size=0)
        reader._buffer = data
        reader._view = memoryview(data)
        reader._end = len(data)
        return reader

    def tell(self) -> int:
        """The offset of the next byte, for a reader made by `over`."""
        return self._position

    @property
    def buffered(self) -> int:
        """The number of bytes that were received and not yet consumed."""
        return self._end - self._position

    @contextmanager
    def copying(self, copy: Callable[[memoryview], None]) -> Iterator[None]:
        """Pass every byte that is consumed inside the `with` to `copy`."""
        self._copy, self._copied = copy, self._position
        try:
            yield
            self._copy_consumed()
        finally:
            self._copy = None

    def _copy_consumed(self) -> None:
        if self._copy is not None and self._position > self._copied:
            self._copy(self._view[self._copied : self._position])
        self._copied = self._position

    def _fill(self) -> None:
        """Receive more bytes; all received before must be consumed."""
        self._copy_consumed()
        self._position = self._copied = self._end = 0
        received = self._receive_into(self._view)
        if not received:
            raise EOFError("the connection was closed")
        self._end = received

    def at_end(self) -> bool:
        """Whether the connection is closed and every byte is consumed."""
        if self.buffered:
            return False
        try:
            self._fill()
        except EOFError:
            return True
        return False

    def take(self, size: int) -> bytes:
        """Consume the next `size` bytes."""
        if size <= self.buffered:
            start = self._position
            self._position += size
            return bytes(self._view[start : self._position])
        pieces = bytearray()
        while (missing := size - len(pieces)) > 0:
            if not self.buffered:
                self._fill()
            pieces += self.take(min(missing, self.buffered))
        return bytes(pieces)

    def uint8(self) -> int:
        """Consume one byte as a number."""
        if not self.buffered:
            self._fill()
        self._position += 1
        return self._buffer[self._position - 1]

    def uint64(self) -> int:
        """Consume eight bytes as a little-endian number."""
        return int(UINT64.unpack(self.take(8))[0])

    def varint(self) -> int:
        """Consume a number in LEB128."""
        value = shift = 0
        while True:
            byte = self.uint8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def raw_string(self) -> bytes:
        """Consume a string of any bytes."""
        return self.take(self._string_size())

    def string(self) -> str:
        """Consume a string of the protocol: a name, a query, a setting."""
        return self.raw_string().decode(errors="replace")

    def _string_size(self) -> int:
        size = self.varint()
        if size > MAX_STRING_SIZE:
            raise ProtocolError(TOO_LARGE_STRING_SIZE, f"Too large string size: {size}")
        return size

    def skip(self, size: int) -> None:
        """Skip `size` bytes."""
        while size > self.buffered:
            size -= self.buffered
            self._position = self._end
            self._fill()
        self._position += size

    def skip_strings(self, count: int) -> None:
        """Skip `count` strings; the inner loop is the hot path of every INSERT with a String column."""
        while count:
            buffer, position, end = self._buffer, self._position, self._end
            while count and position < end:
                size = buffer[position]
                following = position + 1 + size
                if size >= 0x80 or following > end:
                    break
                position = following
                count -= 1
            self._position = position
            if count:  # a long string, or one that ends beyond the buffer
                self.skip(self._string_size())
                count -= 1
