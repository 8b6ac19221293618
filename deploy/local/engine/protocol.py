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

# DBMS_MIN_REVISION_WITH_PARALLEL_REPLICAS in src/Core/ProtocolDefines.h. The next one (54454) adds a flag for custom
# serialization to every column, so that blocks differ from the Native format.
REVISION = 54453

SETTING_IS_IMPORTANT = 0x01  # BaseSettingsHelpers::Flags in src/Core/BaseSettings.h
MAX_TABLES = 1 << 16  # in one TablesStatusRequest; a server sends one


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
    """QueryProcessingStage::Enum in src/Core/QueryProcessingStage.h: the stage up to which a query is processed."""

    FETCH_COLUMNS = 0
    WITH_MERGEABLE_STATE = 1
    COMPLETE = 2
    WITH_MERGEABLE_STATE_AFTER_AGGREGATION = 3
    WITH_MERGEABLE_STATE_AFTER_AGGREGATION_AND_LIMIT = 4


class Interface(IntEnum):
    """ClientInfo::Interface: the protocol between the first client of a query and the first server."""

    TCP = 1
    HTTP = 2


@dataclass(frozen=True)
class ClientHello:
    """User, password and database (empty: the default one) of a connection."""

    database: str
    user: str
    password: str

    @classmethod
    def read(cls, reader: WireReader) -> ClientHello:
        """Read the first packet of a connection.

        Raises:
            ProtocolError: it is not a Hello, or the client is too old for `REVISION`.
        """
        packet = reader.varint()
        if packet != ClientPacket.HELLO:
            raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, f"Unexpected packet from client: {packet}, not Hello")
        reader.string()  # client name
        reader.varint(), reader.varint()  # its version
        revision = reader.varint()
        hello = cls(reader.string(), reader.string(), reader.string())
        if revision < REVISION:
            raise ProtocolError(NOT_IMPLEMENTED, f"The client has revision {revision}; this server needs {REVISION}")
        return hello


@dataclass(frozen=True)
class Setting:
    """One setting of a query. The server ignores an unknown one that is not marked as important."""

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
        """Read the packet after its number, as TCPHandler::processQuery."""
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
    """Read databases and tables after the packet's number, as TablesStatusRequest::read (TablesStatus.cpp).

    Before a server sends a query to a shard, it asks whether the table exists and how much a replica lags.
    """
    count = reader.varint()
    if count > MAX_TABLES:
        raise ProtocolError(TOO_LARGE_ARRAY_SIZE, "Too large collection size.")
    return [(reader.string(), reader.string()) for _ in range(count)]


def _skip_client_info(reader: WireReader) -> None:
    """Skip the client info, as ClientInfo::read (src/Interpreters/ClientInfo.cpp) at `REVISION`.

    Another server sends the info of the client whose query it passes on, which has any interface; that of chDB's own
    queries is LOCAL.
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
    """Skip the part of the client info that differs between interfaces; others have none."""
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
    """Read names, flags and values up to an empty name, as BaseSettings::read."""
    settings = []
    while name := reader.string():
        flags = reader.varint()
        settings.append(Setting(name, reader.string(), bool(flags & SETTING_IS_IMPORTANT)))
    return settings


def server_hello(version: tuple[int, int, int], timezone: str, display_name: str) -> bytes:
    """Encode the Hello of the server, as TCPHandler::sendHello."""
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
    """Encode code, class, text, no stack trace and no nested exception, as `writeException` (WriteHelpers.cpp)."""
    return b"".join((
        encode_varint(ServerPacket.EXCEPTION),
        INT32.pack(code),
        encode_string("DB::Exception"),
        encode_string(f"DB::Exception: {text}"),
        encode_string(""),
        b"\x00",
    ))  # fmt: skip


def progress(rows_read: int, bytes_read: int) -> bytes:
    """Encode what was read, as `ProgressValues::write` (src/IO/Progress.cpp); totals and writes stay 0."""
    values = (ServerPacket.PROGRESS, rows_read, bytes_read, 0, 0, 0)
    return b"".join(map(encode_varint, values))


def tables_status(delays: Mapping[tuple[str, str], int | None]) -> bytes:
    """Encode each table that exists with its delay in seconds, None if not replicated (TablesStatusResponse::write)."""
    encoded = bytearray(encode_varint(ServerPacket.TABLES_STATUS_RESPONSE) + encode_varint(len(delays)))
    for (database, table), delay in delays.items():
        encoded += encode_string(database) + encode_string(table)
        encoded += b"\x00" if delay is None else b"\x01" + encode_varint(delay)
    return bytes(encoded)


def data_prefix() -> bytes:
    """Encode the start of a Data packet: its number, and an empty name of an external table."""
    return encode_varint(ServerPacket.DATA) + encode_string("")
