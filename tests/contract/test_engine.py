"""What the tests rely on when they use the local engine in place of a ClickHouse server."""

import datetime as dt
import uuid
from decimal import Decimal
from ipaddress import IPv6Address
from typing import Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.errors import ServerException

from deploy.local.engine_process import EngineProcess

NOON = dt.datetime(2026, 11, 5, 12, 30, 15, 123000, tzinfo=dt.UTC)
VALUES: dict[str, list[Any]] = {
    "UInt8": [0, 255],
    "Int32": [-(2**31), 2**31 - 1],
    "UInt64": [0, 2**64 - 1],
    "Int128": [-(2**127), 2**127 - 1],
    "Float64": [1e308, float("inf")],
    "Bool": [True, False],
    "Date": [dt.date(1970, 1, 1), dt.date(2149, 6, 6)],
    "Date32": [dt.date(1900, 1, 1), dt.date(2299, 12, 31)],
    "DateTime('Asia/Tokyo')": [NOON.replace(microsecond=0)] * 2,
    "DateTime64(3, 'UTC')": [NOON, NOON],
    "String": ["x" * 300_000, "naïve, \0 and \U0001f600"],
    "FixedString(4)": ["abcd", "efgh"],
    "UUID": [uuid.UUID(int=2**128 - 1), uuid.UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976")],
    "Enum8('c\\'d' = -2, 'a, (b)' = 1)": ["a, (b)", "c'd"],
    "Decimal(18, 4)": [Decimal("1.2345"), Decimal("-1.2345")],
    "IPv6": [IPv6Address("::1"), IPv6Address("2001:db8::1")],
    "Nullable(String)": [None, ""],
    "LowCardinality(Nullable(String))": [None, "b"],
    "Array(Array(LowCardinality(String)))": [[["a", "b"], []], []],
    "Map(String, Float64)": [{"a": 1.5, "b": 2}, {}],
    "Tuple(code UInt8, `a name` LowCardinality(String))": [(1, "a"), (2, "b")],
}


def count(client: Client) -> int:
    ((rows,),) = client.execute("SELECT count() FROM t")
    return int(rows)


def test_every_supported_type_is_read_back_equal(clickhouse: Client) -> None:
    columns = ", ".join(f"c{number} {type_name}" for number, type_name in enumerate(VALUES))
    clickhouse.execute(f"CREATE TABLE t ({columns}) ENGINE = Memory")
    clickhouse.execute("INSERT INTO t VALUES", list(VALUES.values()), columnar=True)

    found, types = clickhouse.execute("SELECT * FROM t", columnar=True, with_column_types=True)
    assert dict(zip(VALUES, map(list, found), strict=True)) == VALUES
    assert [type_name for _, type_name in types] == list(VALUES)


@pytest.mark.parametrize(
    ("query", "rows", "columns"),
    [
        ("SELECT 1 AS one WHERE 0", [], [("one", "UInt8")]),
        (
            "SELECT a.x, b.x FROM (SELECT 1 AS x) AS a, (SELECT 'y' AS x) AS b",
            [(1, "y")],
            [("x", "UInt8"), ("b.x", "String")],
        ),
    ],
    ids=["no rows", "columns of the same name"],
)
def test_select_returns_rows_and_column_types(
    clickhouse: Client, query: str, rows: list[tuple[object, ...]], columns: list[tuple[str, str]]
) -> None:
    assert clickhouse.execute(query, with_column_types=True) == (rows, columns)


def test_million_rows_make_one_part(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt32, s Nullable(String)) ENGINE = MergeTree ORDER BY a")
    rows = 1_000_000
    clickhouse.execute("INSERT INTO t VALUES", [list(range(rows)), ["x", None] * (rows // 2)], columnar=True)

    parts = "SELECT rows FROM system.parts WHERE database = currentDatabase() AND table = 't' AND active"
    assert clickhouse.execute(parts) == [(rows,)]
    assert clickhouse.execute("SELECT uniqExact(a), countIf(s IS NULL) FROM t") == [(rows, rows // 2)]


def test_select_reports_rows_and_bytes_read(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
    clickhouse.execute("INSERT INTO t SELECT number FROM numbers(100000)")
    assert clickhouse.execute("SELECT count() FROM t WHERE x < 10000 AND NOT ignore(x)") == [(10_000,)]
    read = clickhouse.last_query.progress
    assert (read.rows, read.bytes) == (16_384, 16_384 * 8)  # two granules


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("INSERT INTO no_such_database.t VALUES", 81, "no_such_database"),
        ("INSERT INTO t (a, no_such_column) VALUES", 16, "no_such_column"),
        ("INSERT INTO t (a VALUES", 62, "Syntax error"),
        (
            "INSERT INTO t SETTINGS max_partitions_per_insert_block = 1 VALUES",
            252,
            "Too many partitions for single INSERT block",
        ),
        ("INSERT INTO full VALUES", 252, "Too many parts"),
    ],
)
def test_refused_insert_has_the_code_and_message_of_clickhouse(
    clickhouse: Client, query: str, code: int, message: str
) -> None:
    table = "(a UInt8) ENGINE = MergeTree PARTITION BY a ORDER BY a"
    clickhouse.execute(f"CREATE TABLE t {table}")
    clickhouse.execute(f"CREATE TABLE full {table} SETTINGS parts_to_throw_insert = 1")
    clickhouse.execute("SYSTEM STOP MERGES full")
    clickhouse.execute("INSERT INTO full VALUES", [(1,)])
    with pytest.raises(ServerException, match=message) as refused:
        clickhouse.execute(query, [(1,), (2,)])
    assert refused.value.code == code
    assert count(clickhouse) == 0


@pytest.mark.parametrize("more", [b"", b"\x02\x00\x01\x00"], ids=["between blocks", "inside a block"])
def test_insert_of_a_client_that_dies_leaves_no_rows(
    engine: EngineProcess, clickhouse: Client, database: str, more: bytes
) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    with engine.client(database) as dying:
        connection = dying.connection
        connection.connect()
        connection.send_query("INSERT INTO t VALUES")
        connection.send_external_tables(None)
        sample = connection.receive_packet().block
        connection.send_data(ColumnOrientedBlock(sample.columns_with_types, [list(range(1000))]))
        connection.socket.sendall(more)
    clickhouse.execute("INSERT INTO t VALUES", [(1,)])
    assert count(clickhouse) == 1
