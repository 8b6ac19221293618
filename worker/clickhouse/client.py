"""clickhouse-driver's client, taught to send a `Block`: see `worker.clickhouse.encoding` for why."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from clickhouse_driver import Client, defines
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from worker.block import COLUMNS, Block
from worker.clickhouse.encoding import encoder


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


class BlockClient(Client):  # type: ignore[misc]  # the driver ships no types
    """A client for one thread at a time; statement, settings, answers and errors are the driver's.

    Attributes:
        inserted_types: by name, the types of the columns that the last INSERT was asked for; empty before it.
    """

    inserted_types: Mapping[str, str] = {}

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
        self.inserted_types = dict(sample_block.columns_with_types)
        if block:
            send_block(self.connection, sample_block.columns_with_types, block)
            self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        self.receive_profile_events()
        return len(block)


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
