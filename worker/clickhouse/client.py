"""clickhouse-driver's client, taught to send a `Block`: see `worker.clickhouse.encoding` for why."""

from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_driver import Client, defines
from clickhouse_driver.block import BlockInfo, ColumnOrientedBlock
from clickhouse_driver.columns.service import write_column
from clickhouse_driver.protocol import ClientPacketTypes
from clickhouse_driver.varint import write_varint
from clickhouse_driver.writer import write_binary_str, write_binary_uint8

from worker.block import COLUMNS, Block
from worker.clickhouse.encoding import encoder


class BlockClient(Client):  # type: ignore[misc]  # the driver ships no types
    """A client for one thread at a time; statement, settings, answers and errors are the driver's."""

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
        if block:
            send_block(self.connection, sample_block.columns_with_types, block)
            self.receive_profile_events()
        self.connection.send_data(ColumnOrientedBlock())  # no rows: the end
        self.receive_profile_events()
        return len(block)


def send_block(connection: Any, columns: Sequence[tuple[str, str]], block: Block) -> None:  # noqa: ANN401 - of the driver
    """What the driver's `send_data` and `BlockOutputStream.write` do for `block.columns()`, byte for byte.

    Args:
        connection: connected, in the middle of an INSERT.
        columns: names and types that the server has asked for.
        block: one row or more.
    """
    encoders = [encoder(name, type_name) for name, type_name in columns]
    encoded = [encode(block) if encode else None for encode in encoders]
    spread = block.columns() if None in encoded else []
    write_varint(ClientPacketTypes.DATA, connection.fout)
    write_binary_str("", connection.fout)  # not a temporary table
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
