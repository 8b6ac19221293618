"""The connection of one client: the parts of the packet loop of src/Server/TCPHandler.cpp that are needed."""

from __future__ import annotations

import hmac
import select
import socket
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from deploy.local.engine import protocol
from deploy.local.engine.block import (
    Block,
    BlockFile,
    encode_block,
    encode_header,
    encode_only_block,
    receive_block,
    split_result,
)
from deploy.local.engine.columns import column_of
from deploy.local.engine.errors import (
    AUTHENTICATION_FAILED,
    NOT_IMPLEMENTED,
    UNEXPECTED_PACKET_FROM_CLIENT,
    UNKNOWN_PACKET_FROM_CLIENT,
    ProtocolError,
    ServerError,
)
from deploy.local.engine.protocol import ClientHello, ClientPacket, Query, ServerPacket, Stage
from deploy.local.engine.statement import data_follows
from deploy.local.engine.wire import WireReader, encode_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.engine.engine import Engine, EngineSession

LINGER_SECONDS = 10.0
DEFAULT_DATABASE = "default"


@dataclass(frozen=True)
class Credentials:
    """User and password of the only user."""

    user: str = "default"
    password: str = ""

    def check(self, hello: ClientHello) -> None:
        """Raise AUTHENTICATION_FAILED with the text of a real server for a wrong user or password."""
        same_password = hmac.compare_digest(hello.password.encode(), self.password.encode())
        if hello.user != self.user or not same_password:
            raise ProtocolError(
                AUTHENTICATION_FAILED,
                f"{hello.user}: Authentication failed: password is incorrect, or there is no user with such name.",
            )


class Session:
    """Serves one client until it disconnects; an INSERT that is not complete then inserts no rows."""

    def __init__(self, client: socket.socket, engine: Engine, credentials: Credentials) -> None:
        self._client = client
        self._reader = WireReader(client.recv_into)
        self._engine = engine
        self._credentials = credentials
        # After an exception the client may still send blocks of its INSERT. The server drops them, up to the empty one.
        self._skipping_data = False

    def run(self) -> None:
        """Serve the client.

        Raises:
            EOFError, OSError: the client has disconnected in the middle of a packet.
        """
        try:
            with closing(self._engine.session()) as engine:
                self._greet(engine)
                while not self._reader.at_end():
                    self._serve_packet(engine)
        except ProtocolError as error:
            self._send(protocol.exception(error.code, error.text))
            self._linger()

    def _greet(self, engine: EngineSession) -> None:
        hello = ClientHello.read(self._reader)
        self._credentials.check(hello)
        try:
            engine.use(hello.database or DEFAULT_DATABASE)
        except ServerError as error:
            raise ProtocolError(error.code, error.text) from error
        self._send(protocol.server_hello(self._engine.version, self._engine.timezone, self._engine.display_name))

    def _serve_packet(self, engine: EngineSession) -> None:
        packet = self._next_packet()
        match packet:
            case ClientPacket.PING:
                self._send(encode_varint(ServerPacket.PONG))
            case ClientPacket.CANCEL:
                pass  # the query has ended already
            case ClientPacket.QUERY:
                self._serve_query(engine, Query.read(self._reader))
            case ClientPacket.TABLES_STATUS_REQUEST:
                tables = protocol.read_tables_status_request(self._reader)
                self._send(protocol.tables_status(engine.replication_delays(tables)))
            case ClientPacket.DATA if self._skipping_data:
                self._skipping_data = self._receive_data(None)
            case ClientPacket.DATA | ClientPacket.HELLO | ClientPacket.SCALAR:
                raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, f"Unexpected packet {packet.name} from client")
            case _:
                assert_never(packet)

    def _next_packet(self) -> ClientPacket:
        number = self._reader.varint()
        try:
            return ClientPacket(number)
        except ValueError:
            raise ProtocolError(UNKNOWN_PACKET_FROM_CLIENT, f"Unknown packet {number} from client") from None

    def _serve_query(self, engine: EngineSession, query: Query) -> None:
        if query.compressed:
            raise ProtocolError(NOT_IMPLEMENTED, "The local engine server does not support compression: turn it off")
        self._skipping_data = False
        try:
            with ExitStack() as files:
                external = self._receive_external_tables(files)
                with engine.external_tables(external):
                    if data_follows(query.text):
                        self._serve_insert(engine, query)
                    elif query.stage is Stage.COMPLETE:
                        self._serve_statement(engine, query)
                    else:
                        self._serve_part(engine, query)
        except ProtocolError:
            raise
        except ServerError as error:
            self._send(protocol.exception(error.code, error.text))
        else:
            self._send(encode_varint(ServerPacket.END_OF_STREAM))

    def _receive_external_tables(self, files: ExitStack) -> dict[str, str]:
        """Receive the tables that the client sends with its query: a file for each name, which `files` closes."""
        tables: dict[str, BlockFile] = {}
        while True:
            packet = self._next_packet()
            if packet not in (ClientPacket.DATA, ClientPacket.SCALAR):
                raise ProtocolError(
                    UNEXPECTED_PACKET_FROM_CLIENT, "Expected a block of an external table, or their end"
                )
            name = self._reader.string()
            if packet is ClientPacket.SCALAR:
                receive_block(self._reader, None)
                continue
            if name and name not in tables:
                tables[name] = files.enter_context(closing(BlockFile()))
            if not receive_block(self._reader, tables.get(name)):
                return {name: file.path for name, file in tables.items() if file.rows}

    def _serve_insert(self, engine: EngineSession, query: Query) -> None:
        """Send the sample block, receive blocks up to the empty one, and insert them all by one INSERT."""
        self._skipping_data = True
        insert = engine.parse_insert(query.text)
        columns = engine.insert_columns(insert)
        for _, type_name in columns:
            column_of(type_name)  # raises for a type that is not supported, before anything is sent
        self._send(protocol.data_prefix() + encode_header(columns))
        with closing(BlockFile()) as file:
            while self._receive_insert_packet(file):
                pass
            self._skipping_data = False
            if file.rows:
                engine.insert(insert, file.path, query.settings)

    def _receive_insert_packet(self, file: BlockFile) -> bool:
        match self._next_packet():
            case ClientPacket.DATA:
                return self._receive_data(file)
            case ClientPacket.CANCEL:
                raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, "The INSERT was cancelled: nothing was inserted")
            case packet:
                raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, f"Unexpected packet {packet.name} inside an INSERT")

    def _receive_data(self, file: BlockFile | None) -> bool:
        self._reader.raw_string()  # the name of an external table, empty in an INSERT
        return receive_block(self._reader, file)

    def _serve_statement(self, engine: EngineSession, query: Query) -> None:
        answer = engine.execute(query.text, query.settings)
        result = answer.data
        blocks = list(split_result(result))
        header = self._header(engine, query.text, blocks)
        if header:
            self._send(protocol.data_prefix() + encode_header(header))
        for block in blocks:
            if self._is_cancelled():
                return
            self._send(protocol.data_prefix(), *encode_block(result, block, header))
        self._send(protocol.progress(answer.rows_read, answer.bytes_read))

    def _serve_part(self, engine: EngineSession, query: Query) -> None:
        """Answer the part of a query for one shard, in one block."""
        answer, header, rows = engine.execute_part(query.text, query.stage, query.settings)
        self._send(protocol.data_prefix() + encode_header(header))
        if answer.data:
            self._send(protocol.data_prefix(), *encode_only_block(answer.data, rows))
        self._send(protocol.progress(answer.rows_read, answer.bytes_read))

    @staticmethod
    def _header(engine: EngineSession, text: str, blocks: list[Block]) -> list[tuple[str, str]]:
        """The names and types of the columns of a result.

        The Native format has none for a result of no rows, and `DateTime` for DateTime('Asia/Tokyo') (NativeWriter.cpp
        writes the time zone only for clients of a known revision). DESCRIBE returns both.
        """
        native = [(column.name, column.type_name) for column in blocks[0].columns] if blocks else []
        if native and not any(type_name == "DateTime" for _, type_name in native):
            return native
        return engine.result_columns(text) or native

    def _is_cancelled(self) -> bool:
        """Whether the client has sent Cancel; called between the blocks of a result."""
        waiting = self._reader.buffered or select.select([self._client], [], [], 0)[0]
        if not waiting:
            return False
        if self._next_packet() is not ClientPacket.CANCEL:
            raise ProtocolError(UNEXPECTED_PACKET_FROM_CLIENT, "Only Cancel may come while a query runs")
        return True

    def _send(self, *pieces: bytes | memoryview) -> None:
        for piece in _join_small(pieces):
            self._client.sendall(piece)

    def _linger(self) -> None:
        """Wait until the client has read the exception: a close with unread data would reset the connection."""
        self._client.shutdown(socket.SHUT_WR)
        self._client.settimeout(LINGER_SECONDS)
        while self._client.recv(1 << 16):
            pass


def _join_small(pieces: tuple[bytes | memoryview, ...], enough: int = 1 << 16) -> Iterator[bytes | memoryview]:
    """Join small pieces, and leave large ones as they are."""
    gathered = bytearray()
    for piece in pieces:
        if len(piece) < enough:
            gathered += piece
            continue
        yield bytes(gathered)
        gathered.clear()
        yield piece
    yield bytes(gathered)
