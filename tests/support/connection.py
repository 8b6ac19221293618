"""What passes through a proxy: a connection, its two sides, its two directions."""

import asyncio
from enum import Enum, auto


class Side(Enum):
    """Who is at the end of a connection."""

    CLIENT = auto()
    SERVER = auto()


class Direction:
    """One direction, of every connection of a proxy.

    Attributes:
        silent: while true nothing is handed on, and the connections stay open.
        delay_seconds: how long each piece waits before it is handed on.
        passed: how many bytes have been handed on.
    """

    def __init__(self) -> None:
        self.silent = False
        self.delay_seconds = 0.0
        self.passed = 0
        self._left: int | None = None

    def cut_after(self, size: int) -> None:
        """Let `size` more bytes pass, and then cut the connection that would carry the next one."""
        self._left = size

    def admit(self, size: int) -> int:
        """How many of the next `size` bytes may pass; fewer when the connection is to be cut after them."""
        if self._left is None:
            return size
        admitted = min(size, self._left)
        self._left = self._left - admitted if admitted == size else None
        return admitted


class Connection:
    """A client, and once it is reached the server. `kept` is the side that does not know that the other is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.streams = {Side.CLIENT: (reader, writer)}
        self.kept: Side | None = None
        self.swallowed = False

    def reach(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The server has been reached, over these streams."""
        self.streams[Side.SERVER] = reader, writer

    def half_open(self, kept: Side) -> None:
        """Cut it in the eyes of the side that is not `kept`."""
        self.kept = kept
        for side, (_, writer) in self.streams.items():
            if side is not kept:
                writer.transport.abort()

    def abort(self) -> None:
        """Cut it in the eyes of both."""
        for _, writer in self.streams.values():
            writer.transport.abort()
