"""clickhouse-driver's client, extended to send a `Block`: see `worker.clickhouse.encoding` for the reason."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_driver import Client, defines
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from worker.clickhouse.encoding import find_encoder
from worker.clickhouse.failover import FailoverConnection
from worker.clickhouse.servers import RecentFailures, Server
from worker.clickhouse.types import type_differences
from worker.core.errors import StoreError
from worker.core.outcome import Outcome, OutcomeKind
from worker.events.block import COLUMNS, Block


class ExternalBlock(NamedTuple):
    """The name that a query reads a block by, names and types of the columns that are sent, and one row or more."""

    table: str
    columns: Sequence[tuple[str, str]]
    block: Block


class BlockClient(Client):  # type: ignore[misc]  # the driver ships no types
    """A client for one thread at a time; statements, settings, answers and errors are the driver's.

    A value that cannot be encoded raises before a row is sent.
    """

    inserted_types: Mapping[str, str] = {}
    """The types of the columns in the server's answer to the last INSERT, by name; empty before."""

    def __init__(self, servers: Sequence[Server], failures: RecentFailures, **options: Any) -> None:  # noqa: ANN401 - the driver's
        super().__init__(*servers[0], **options)
        self.connection.__class__ = FailoverConnection  # the driver takes no other class
        self.connection.servers, self.connection.failures = servers, failures

    def select(self, query: str, external: ExternalBlock, settings: Mapping[str, object]) -> list[tuple[Any, ...]]:
        """Run a SELECT that may read `external`; return the rows of its answer."""
        rows: list[tuple[Any, ...]] = self.execute(query, external_tables=external, settings=dict(settings))
        return rows

    def process_ordinary_query(self, query: str, *args: Any, external_tables: Any = None, **options: Any) -> Any:  # noqa: ANN401 - the driver's
        """Run a query; overrides the driver's method, which takes an external table as one mapping for each row."""
        if not isinstance(external_tables, ExternalBlock):
            return super().process_ordinary_query(query, *args, external_tables=external_tables, **options)
        table, columns, block = external_tables
        self.connection.send_query(query)
        send_block(self.connection, columns, block, table)
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        return self.receive_result()

    def insert(self, statement: str, block: Block, settings: Mapping[str, object]) -> None:
        """Run an INSERT of `COLUMNS` with the rows of `block`."""
        self.execute(statement, [block], settings=dict(settings))

    def send_data(self, sample_block: Any, data: Any, types_check: bool = False, columnar: bool = False) -> int:  # noqa: ANN401 - the driver's
        """Send the rows of an INSERT, whose columns the server has named; overrides the driver's method."""
        if not (data and isinstance(data[0], Block)):
            sent: int = super().send_data(sample_block, data, types_check, columnar)
            return sent
        (block,) = data
        self._check_types(dict(sample_block.columns_with_types))
        if block:
            send_block(self.connection, sample_block.columns_with_types, block)
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        return len(block)

    def receive_profile_events(self) -> None:
        """Wait for no packet within an INSERT; overrides the driver's method.

        The driver would wait for profile events after each block until the time-out, where a profile has
        `send_profile_events=0`. It reads them at the end of the INSERT too.
        """

    def _check_types(self, types: Mapping[str, str]) -> None:
        """Check the types before each INSERT, because a table can be altered while the worker runs.

        Raises StoreError if a column has another type than the worker writes. ClickHouse would accept some without an
        error, such as a time of another precision.
        """
        if types != self.inserted_types:
            if differences := [*type_differences(types)]:
                raise StoreError(Outcome(OutcomeKind.MISCONFIGURED, "ColumnTypeDiffers", "; ".join(differences)))
            self.inserted_types = types


def send_block(connection: Any, columns: Sequence[tuple[str, str]], block: Block, table: str = "") -> None:  # noqa: ANN401 - of the driver
    """Send the bytes that the driver's `send_data` and `BlockOutputStream.write` send for `block.columns()`.

    Args:
        connection: in the middle of an INSERT, or of a query with an external table.
        columns: names and types, in the order of the server.
        block: one row or more.
        table: the name of the external table; empty for the rows of an INSERT.
    """
    encoders = [find_encoder(name, type_name) for name, type_name in columns]
    encoded = [encode(block) if encode else None for encode in encoders]
    values = block.columns() if None in encoded else []
    write_varint(ClientPacketTypes.DATA, connection.fout)
    write_binary_str(table, connection.fout)
    stream = connection.block_out
    BlockInfo().write(stream.fout)
    write_varint(len(columns), stream.fout)
    write_varint(len(block), stream.fout)
    has_custom_flag = connection.server_info.used_revision >= defines.DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION
    for (name, type_name), data in zip(columns, encoded, strict=True):
        write_binary_str(name, stream.fout)
        write_binary_str(type_name, stream.fout)
        if has_custom_flag:
            write_binary_uint8(0, stream.fout)  # no custom serialization
        if data is None:
            write_column(connection.context, name, type_name, list(values[COLUMNS.index(name)]), stream.fout)
        else:
            stream.fout.write(data)
    stream.finalize()
