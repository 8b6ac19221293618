"""Errors that the engine server answers with an exception packet.

ServerError              the query failed; the connection stays open
└── ProtocolError        the next byte cannot be interpreted; the connection ends
"""

from __future__ import annotations

# Codes as in ClickHouse's src/Common/ErrorCodes.cpp.
NOT_IMPLEMENTED = 48
SYNTAX_ERROR = 62
UNKNOWN_PACKET_FROM_CLIENT = 99
UNEXPECTED_PACKET_FROM_CLIENT = 101
TOO_LARGE_ARRAY_SIZE = 128
TOO_LARGE_STRING_SIZE = 131
AUTHENTICATION_FAILED = 516
STD_EXCEPTION = 1001


class ServerError(Exception):
    """An error for the client: ClickHouse's code, and its text without `DB::Exception: `."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"Code: {self.code}. {self.text}"


class ProtocolError(ServerError):
    """A ServerError after which the connection ends."""
