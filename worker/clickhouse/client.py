"""clickhouse-driver's client, taught to send a `Block`: see `worker.clickhouse.encoding` for why."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_driver import Client, defines
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import ServerException
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.reader import read_binary_bytes, read_binary_int32, read_binary_uint8
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from worker.clickhouse.encoding import encoder
from worker.clickhouse.types import type_differences
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind
from worker.events.block import COLUMNS, Block


class ExternalBlock(NamedTuple):
    """A block that goes along with a query, which may read it as a table.

    Attributes:
        table: its name in the query.
        columns: names and types of those of its columns that are sent.
        block: one row or more.
    """

    table: str
    columns: Sequence[tuple[str, str]]
    block: Block


class _Connection(Connection):  # type: ignore[misc]  # the driver ships no types
    """Reads exceptions whose text is not UTF-8: ClickHouse cuts the values that it quotes by bytes.

    The driver's own would lose the code with the text, so that an invalid row looks like a broken connection.
    """

    def receive_exception(self) -> ServerException:
        """Overrides the driver's."""
        code = read_binary_int32(self.fin)
        name, message, trace = (read_binary_bytes(self.fin).decode("utf-8", "replace") for _ in range(3))
        nested = self.receive_exception() if read_binary_uint8(self.fin) else None
        prefix = f"{name}. " if name != "DB::Exception" else ""
        return ServerException(f"{prefix}{message}. Stack trace:\n\n{trace}", code, nested=nested)


class BlockClient(Client):  # type: ignore[misc]  # the driver ships no types
    """A client for one thread at a time; statement, settings, answers and errors are the driver's.

    Attributes:
        inserted_types: by name, the types of the columns that the last INSERT was asked for; empty before it.
    """

    inserted_types: Mapping[str, str] = {}

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - the driver's
        super().__init__(*args, **options)
        for connection in (self.connection, *self.connections):
            connection.__class__ = _Connection  # the driver has no way to name another

    def ask(self, query: str, external: ExternalBlock, settings: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run a SELECT that may read `external`; the rows of its answer.

        Raises:
            What the driver raises; of a value that cannot be encoded, before a row is sent.
        """
        rows: list[tuple[Any, ...]] = self.execute(query, external_tables=external, settings=dict(settings))
        return rows

    def process_ordinary_query(self, query: str, *args: Any, external_tables: Any = None, **options: Any) -> Any:  # noqa: ANN401 - the driver's
        """Overrides the driver's, which takes an external table as one mapping a row."""
        if not isinstance(external_tables, ExternalBlock):
            return super().process_ordinary_query(query, *args, external_tables=external_tables, **options)
        table, columns, block = external_tables
        self.connection.send_query(query)
        send_block(self.connection, columns, block, table)
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        return self.receive_result()

    def insert(self, statement: str, block: Block, settings: Mapping[str, object]) -> None:
        """Run an INSERT of `COLUMNS` and send it `block`.

        Raises:
            What the driver raises; of a value that cannot be encoded, before a row is sent.
        """
        self.execute(statement, [block], settings=dict(settings))

    def send_data(self, sample_block: Any, data: Any, types_check: bool = False, columnar: bool = False) -> int:  # noqa: ANN401 - the driver's
        """Overrides the driver's: called when the server has named the columns that it waits for, with their types."""
        if not (data and isinstance(data[0], Block)):
            sent: int = super().send_data(sample_block, data, types_check, columnar)
            return sent
        (block,) = data
        self._check_types(dict(sample_block.columns_with_types))
        if block:
            send_block(self.connection, sample_block.columns_with_types, block)
            self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        self.receive_profile_events()
        return len(block)

    def _check_types(self, types: Mapping[str, str]) -> None:
        """Before each INSERT, because a table can be altered while the worker runs.

        Raises:
            StoreError: a column has another type than the worker writes. ClickHouse would take some of them in silence,
                such as a time of another precision.
        """
        if types != self.inserted_types:
            if differences := [*type_differences(types)]:
                raise StoreError(Outcome(OutcomeKind.MISCONFIGURED, "ColumnTypeDiffers", "; ".join(differences)))
            self.inserted_types = types


def send_block(connection: Any, columns: Sequence[tuple[str, str]], block: Block, table: str = "") -> None:  # noqa: ANN401 - of the driver
    """What the driver's `send_data` and `BlockOutputStream.write` do for `block.columns()`, byte for byte.

    Args:
        connection: connected, in the middle of an INSERT, or of a query that takes an external table.
        columns: names and types, as the server has asked for them.
        block: one row or more.
        table: the name of the external table; empty for the rows of an INSERT.
    """
    encoders = [encoder(name, type_name) for name, type_name in columns]
    encoded = [encode(block) if encode else None for encode in encoders]
    spread = block.columns() if None in encoded else []
    write_varint(ClientPacketTypes.DATA, connection.fout)
    write_binary_str(table, connection.fout)
    stream = connection.block_out
    BlockInfo().write(stream.fout)
    write_varint(len(columns), stream.fout)
    write_varint(len(block), stream.fout)
    flagged = connection.server_info.used_revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
    for (name, type_name), data in zip(columns, encoded, strict=True):
        write_binary_str(name, stream.fout)
        write_binary_str(type_name, stream.fout)
        if flagged:
            write_binary_uint8(0, stream.fout)  # not a custom one
        if data is None:
            write_column(connection.context, name, type_name, list(spread[COLUMNS.index(name)]), stream.fout)
        else:
            stream.fout.write(data)
    stream.finalize()
