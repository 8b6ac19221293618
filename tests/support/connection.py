"""The connections of a fault proxy: their two sides and two directions."""

import asyncio
from enum import Enum, auto


class Side(Enum):
    """An end of a connection."""

    CLIENT = auto()
    SERVER = auto()


class Direction:
    """One direction, of every connection of a proxy.

    Attributes:
        silent: while true nothing is forwarded, and the connections stay open.
        passed: number of bytes that were forwarded.
    """

    def __init__(self) -> None:
        self.silent = False
        self.passed = 0
        self._left: int | None = None

    def cut_after(self, size: int) -> None:
        """Forward `size` more bytes, and then cut the connection that brings the next one."""
        self._left = size

    def take_allowance(self, size: int) -> int:
        """How many of the next `size` bytes to forward; fewer if the connection must be cut after them."""
        if self._left is None:
            return size
        allowed = min(size, self._left)
        self._left = self._left - allowed if allowed == size else None
        return allowed


class Connection:
    """A client and, once connected, the server. `kept` is the side that is not closed when the other is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams = {Side.CLIENT: (reader, writer)}
        self.kept: Side | None = None
        self.swallowed = False

    def add_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Add the streams of the connection to the server."""
        self.streams[Side.SERVER] = reader, writer

    def half_open(self, kept: Side) -> None:
        """Abort the side that is not `kept`."""
        self.kept = kept
        for side, (_, writer) in self.streams.items():
            if side is not kept:
                writer.transport.abort()

    def abort(self) -> None:
        """Abort both sides."""
        for _, writer in self.streams.values():
            writer.transport.abort()
