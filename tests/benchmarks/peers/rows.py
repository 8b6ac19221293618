"""The rows that a program has written, and how they differ from the worker's."""

from typing import NamedTuple

from clickhouse_driver import Client

from tests.benchmarks.peers.columns import COLUMNS

AS_EXPECTED = "all, once"


class Rows(NamedTuple):
    """The rows of a table.

    Attributes:
        stored: how many there are, without those that ClickHouse has merged away.
        distinct: how many different ones there are, by execution and metric.
        digest: equal for equal distinct rows.
    """

    stored: int
    distinct: int
    digest: int


def read_rows(client: Client, table: str) -> Rows:
    """The rows of `table`."""
    ((stored,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
    values = ", ".join("mapSort(labels)" if name == "labels" else name for name in COLUMNS)
    ((distinct, digest),) = client.execute(f"SELECT count(), sum(cityHash64({values})) FROM {table}_deduplicated")  # noqa: S608
    return Rows(stored, distinct, digest)


def describe_rows(rows: Rows, expected: Rows) -> str:
    """How the rows of a peer differ from those that were `expected`."""
    lost, repeated = expected.distinct - rows.distinct, rows.stored - rows.distinct
    problems = [f"{number:,} {what}" for number, what in ((lost, "lost"), (repeated, "repeated")) if number]
    if not problems and rows.digest != expected.digest:
        return "other values"
    return ", ".join(problems) or AS_EXPECTED
