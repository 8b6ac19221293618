"""Packets of ClickHouse's native protocol, as src/Core/Protocol.h and src/Server/TCPHandler.cpp define them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from deploy.local.engine.errors import NOT_IMPLEMENTED, UNEXPECTED_PACKET_FROM_CLIENT, ProtocolError
from deploy.local.engine.wire import INT32, WireReader, encode_string, encode_varint

# DBMS_MIN_REVISION_WITH_PARALLEL_REPLICAS in src/Core/ProtocolDefines.h. The next one (54454) adds custom
# serialization flags to every column, and with them the wire would differ from the Native format.
REVISION = 54453

SETTING_IS_IMPORTANT = 0x01  # BaseSettingsHelpers::Flags in src/Core/BaseSettings.h


class ClientPacket(IntEnum):
    """Protocol::Client."""

    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4


class ServerPacket(IntEnum):
    """Protocol::Server."""

    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5


@dataclass(frozen=True)
class ClientHello:
    """Who connects, and to which database (empty: the default one)."""

    database: str
    user: str
    password: str

    @classmethod
    def read(cls, reader: WireReader) -> ClientHello:
        """Read the first packet of a connection.

        Raises:
            ProtocolError: not a Hello, or of a client too old for `REVISION`.
        """
        packet = reader.varint()
        if packet != ClientPacket.HELLO:
            raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, f"Unexpected packet from client: {packet}, not Hello")
        reader.string()  # client name
        reader.varint(), reader.varint()  # its version
        revision = reader.varint()
        hello = cls(reader.string(), reader.string(), reader.string())
        if revision < REVISION:
            raise ProtocolError(NOT_IMPLEMENTED, f"The client speaks revision {revision}; this server needs {REVISION}")
        return hello


@dataclass(frozen=True)
class Setting:
    """One setting of a query. The server ignores an unknown one unless the client calls it important."""

    name: str
    value: str
    important: bool


@dataclass(frozen=True)
class Query:
    """A Query packet without its client info."""

    text: str
    settings: tuple[Setting, ...]
    compressed: bool

    @classmethod
    def read(cls, reader: WireReader) -> Query:
        """Read the packet after its number; TCPHandler::processQuery."""
        reader.string()  # query id
        _skip_client_info(reader)
        settings = tuple(_read_settings(reader))
        reader.string()  # interserver secret
        reader.varint()  # stage: clients ask for Complete
        compressed = bool(reader.varint())
        return cls(reader.string(), settings, compressed)


def _skip_client_info(reader: WireReader) -> None:
    """ClientInfo::read in src/Interpreters/ClientInfo.cpp at `REVISION`, for the TCP interface."""
    if not reader.uint8():  # query kind
        return
    for _ in range(3):
        reader.raw_string()  # initial user, query id and address
    reader.skip(8 + 1)  # start time, interface
    for _ in range(3):
        reader.raw_string()  # os user, host, client name
    for _ in range(3):
        reader.varint()  # major, minor, revision
    reader.raw_string()  # quota key
    reader.varint()  # distributed depth
    reader.varint()  # patch
    if reader.uint8():  # OpenTelemetry
        reader.skip(16 + 8)
        reader.raw_string()
        reader.skip(1)
    for _ in range(3):
        reader.varint()  # parallel replicas


def _read_settings(reader: WireReader) -> list[Setting]:
    """BaseSettings::read, names and values as strings with flags, until an empty name."""
    settings = []
    while name := reader.string():
        flags = reader.varint()
        settings.append(Setting(name, reader.string(), bool(flags & SETTING_IS_IMPORTANT)))
    return settings


def server_hello(version: tuple[int, int, int], timezone: str, display_name: str) -> bytes:
    """TCPHandler::sendHello."""
    major, minor, patch = version
    return b"".join((
        encode_varint(ServerPacket.HELLO),
        encode_string("ClickHouse"),
        encode_varint(major),
        encode_varint(minor),
        encode_varint(REVISION),
        encode_string(timezone),
        encode_string(display_name),
        encode_varint(patch),
    ))  # fmt: skip


def exception(code: int, text: str) -> bytes:
    """`writeException` in src/IO/WriteHelpers.cpp: code, class, display text, stack trace (none), nested (none)."""
    return b"".join((
        encode_varint(ServerPacket.EXCEPTION),
        INT32.pack(code),
        encode_string("DB::Exception"),
        encode_string(f"DB::Exception: {text}"),
        encode_string(""),
        b"\x00",
    ))  # fmt: skip


def progress(rows_read: int, bytes_read: int) -> bytes:
    """`ProgressValues::write` in src/IO/Progress.cpp at `REVISION`. Not told: what will be read, what was written."""
    values = (ServerPacket.PROGRESS, rows_read, bytes_read, 0, 0, 0)
    return b"".join(map(encode_varint, values))


def data_prefix() -> bytes:
    """What stands before a block in a Data packet: the number, and the name of no external table."""
    return encode_varint(ServerPacket.DATA) + encode_string("")
