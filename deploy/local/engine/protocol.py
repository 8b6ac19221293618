"""Packets of ClickHouse's native protocol, as src/Core/Protocol.h and src/Server/TCPHandler.cpp define them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from deploy.local.engine.errors import (
    NOT_IMPLEMENTED,
    TOO_LARGE_ARRAY_SIZE,
    UNEXPECTED_PACKET_FROM_CLIENT,
    ProtocolError,
)
from deploy.local.engine.wire import INT32, WireReader, encode_string, encode_varint

if TYPE_CHECKING:
    from collections.abc import Mapping

# DBMS_MIN_REVISION_WITH_PARALLEL_REPLICAS in src/Core/ProtocolDefines.h. The next one (54454) adds custom
# serialization flags to every column, and with them the wire would differ from the Native format.
REVISION = 54453

SETTING_IS_IMPORTANT = 0x01  # BaseSettingsHelpers::Flags in src/Core/BaseSettings.h
MAX_TABLES = 1 << 16  # in one TablesStatusRequest; a server asks about one


class ClientPacket(IntEnum):
    """Protocol::Client."""

    HELLO = 0
    QUERY = 1
    DATA = 2
    CANCEL = 3
    PING = 4
    TABLES_STATUS_REQUEST = 5
    SCALAR = 7


class ServerPacket(IntEnum):
    """Protocol::Server."""

    HELLO = 0
    DATA = 1
    EXCEPTION = 2
    PROGRESS = 3
    PONG = 4
    END_OF_STREAM = 5
    TABLES_STATUS_RESPONSE = 9


class Stage(IntEnum):
    """QueryProcessingStage::Enum in src/Core/QueryProcessingStage.h: how far a query is to be processed."""

    FETCH_COLUMNS = 0
    WITH_MERGEABLE_STATE = 1
    COMPLETE = 2
    WITH_MERGEABLE_STATE_AFTER_AGGREGATION = 3
    WITH_MERGEABLE_STATE_AFTER_AGGREGATION_AND_LIMIT = 4


class Interface(IntEnum):
    """ClientInfo::Interface: how the first client of a query reached the first server."""

    TCP = 1
    HTTP = 2


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
    stage: Stage
    compressed: bool

    @classmethod
    def read(cls, reader: WireReader) -> Query:
        """Read the packet after its number; TCPHandler::processQuery."""
        reader.string()  # query id
        _skip_client_info(reader)
        settings = tuple(_read_settings(reader))
        reader.string()  # interserver secret
        stage = reader.varint()
        compressed = bool(reader.varint())
        text = reader.string()
        try:
            return cls(text, settings, Stage(stage), compressed)
        except ValueError:
            raise ProtocolError(NOT_IMPLEMENTED, f"Unknown query processing stage {stage}") from None


def read_tables_status_request(reader: WireReader) -> list[tuple[str, str]]:
    """TablesStatusRequest::read in src/Interpreters/TablesStatus.cpp: databases and tables, after the packet's number.

    A server asks it before it sends a shard a query, to learn whether the table is there and how far a replica lags.
    """
    count = reader.varint()
    if count > MAX_TABLES:
        raise ProtocolError(TOO_LARGE_ARRAY_SIZE, "Too large collection size.")
    return [(reader.string(), reader.string()) for _ in range(count)]


def _skip_client_info(reader: WireReader) -> None:
    """ClientInfo::read in src/Interpreters/ClientInfo.cpp at `REVISION`.

    Another server describes the client whose query it passes on: that one came by any interface, and chDB's own
    queries come by LOCAL.
    """
    if not reader.uint8():  # query kind
        return
    for _ in range(3):
        reader.raw_string()  # initial user, query id and address
    reader.skip(8)  # start time
    interface = reader.uint8()
    _skip_interface_info(reader, interface)
    reader.raw_string()  # quota key
    reader.varint()  # distributed depth
    if interface == Interface.TCP:
        reader.varint()  # patch
    if reader.uint8():  # OpenTelemetry
        reader.skip(16 + 8)
        reader.raw_string()
        reader.skip(1)
    for _ in range(3):
        reader.varint()  # parallel replicas


def _skip_interface_info(reader: WireReader, interface: int) -> None:
    """The part of the client info that differs between interfaces; empty for all others."""
    match interface:
        case Interface.TCP:
            for _ in range(3):
                reader.raw_string()  # os user, host, client name
            for _ in range(3):
                reader.varint()  # major, minor, revision
        case Interface.HTTP:
            reader.skip(1)  # method
            for _ in range(3):
                reader.raw_string()  # user agent, forwarded for, referer


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


def tables_status(delays: Mapping[tuple[str, str], int | None]) -> bytes:
    """TablesStatusResponse::write: each table that exists, with its delay in seconds if it is replicated, else None."""
    encoded = bytearray(encode_varint(ServerPacket.TABLES_STATUS_RESPONSE) + encode_varint(len(delays)))
    for (database, table), delay in delays.items():
        encoded += encode_string(database) + encode_string(table)
        encoded += b"\x00" if delay is None else b"\x01" + encode_varint(delay)
    return bytes(encoded)


def data_prefix() -> bytes:
    """What stands before a block in a Data packet: the number, and the name of no external table."""
    return encode_varint(ServerPacket.DATA) + encode_string("")
