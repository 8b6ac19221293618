"""The local engine server, tested through the driver that the worker uses."""

from __future__ import annotations

import datetime as dt
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from clickhouse_driver import Client
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.errors import NetworkError, ServerException, SocketTimeoutError

from deploy.local.engine_process import EngineProcess
from tests.contract.values import VALUES
from tests.support.local import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

UTC = dt.UTC


@pytest.fixture
def own_engine(tmp_path: Path) -> EngineProcess:
    """An engine that the test may kill; not started."""
    return EngineProcess(tmp_path)


def refusal(call: Callable[[], object]) -> ServerException:
    with pytest.raises(ServerException) as caught:
        call()
    return caught.value


def count(client: Client, table: str = "t") -> int:
    ((rows,),) = client.execute(f"SELECT count() FROM {table}")  # noqa: S608
    return int(rows)


# Queries


def test_select_returns_rows_and_column_types(clickhouse: Client) -> None:
    result = clickhouse.execute("SELECT number AS n, toString(number) AS s FROM numbers(3)", with_column_types=True)
    assert result == ([(0, "0"), (1, "1"), (2, "2")], [("n", "UInt64"), ("s", "String")])


def test_select_without_rows_returns_its_columns(clickhouse: Client) -> None:
    assert clickhouse.execute("SELECT 1 AS one WHERE 0", with_column_types=True) == ([], [("one", "UInt8")])


def test_select_returns_columns_that_have_the_same_name(clickhouse: Client) -> None:
    result = clickhouse.execute(
        "SELECT a.x, b.x FROM (SELECT 1 AS x) AS a, (SELECT 'y' AS x) AS b", with_column_types=True
    )
    assert result == ([(1, "y")], [("x", "UInt8"), ("b.x", "String")])
    assert clickhouse.execute("SELECT * FROM (SELECT 1 AS `ключ`) WHERE `ключ` = 1") == [(1,)]


def test_select_keeps_the_time_zone_of_a_type(clickhouse: Client) -> None:
    ((moment,),), ((_, type_name),) = clickhouse.execute(
        "SELECT toDateTime('2026-11-05 12:00:00', 'Asia/Tokyo') AS t", with_column_types=True
    )
    assert type_name == "DateTime('Asia/Tokyo')"
    assert moment.astimezone(UTC) == dt.datetime(2026, 11, 5, 3, tzinfo=UTC)


def test_select_returns_many_blocks(clickhouse: Client) -> None:
    rows = clickhouse.execute("SELECT number, toString(number) FROM numbers(300000) ORDER BY number")
    assert len(rows) == 300_000
    assert rows[-1] == (299_999, "299999")


def test_ddl_is_executed(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("ALTER TABLE t ADD COLUMN b LowCardinality(String) DEFAULT 'x'")
    clickhouse.execute("INSERT INTO t (a) VALUES", [(1,)])
    assert clickhouse.execute("SELECT a, b FROM t") == [(1, "x")]


def test_insert_takes_inline_values_and_a_select(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("INSERT INTO t VALUES (1), (2)")
    clickhouse.execute("INSERT INTO t SELECT a + 10 FROM t")
    assert clickhouse.execute("SELECT a FROM t ORDER BY a") == [(1,), (2,), (11,), (12,)]


def test_select_reports_rows_and_bytes_read(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
    clickhouse.execute("INSERT INTO t SELECT number FROM numbers(100000)")
    assert clickhouse.execute("SELECT count() FROM t WHERE x < 10000 AND NOT ignore(x)") == [(10_000,)]
    read = clickhouse.last_query.progress
    assert (read.rows, read.bytes) == (16_384, 16_384 * 8)  # two granules


def test_settings_apply_to_their_query_only(clickhouse: Client) -> None:
    query = "SELECT getSetting('max_threads')"
    clickhouse.execute("SET max_threads = 3")
    assert clickhouse.execute(query, settings={"max_threads": 7}) == [(7,)]
    assert clickhouse.execute(query) == [(3,)]


def test_unknown_setting_is_refused_only_when_it_is_important(engine: EngineProcess) -> None:
    with engine.client(settings_is_important=True) as client:
        assert refusal(lambda: client.execute("SELECT 1", settings={"no_such_setting": 1})).code == 115
    with engine.client() as client:
        assert client.execute("SELECT 1", settings={"no_such_setting": 1}) == [(1,)]


def test_several_statements_in_one_query_are_refused(clickhouse: Client) -> None:
    assert refusal(lambda: clickhouse.execute("CREATE DATABASE one; CREATE DATABASE two")).code == 62
    assert clickhouse.execute("SELECT 'a; b';") == [("a; b",)]


def test_sessions_share_no_settings_and_temporary_tables(engine: EngineProcess, clickhouse: Client) -> None:
    clickhouse.execute("SET max_threads = 3")
    clickhouse.execute("CREATE TEMPORARY TABLE mine (a UInt8)")
    with engine.client() as other:
        assert refusal(lambda: other.execute("SELECT * FROM mine")).code == 60
        assert other.execute("SELECT currentDatabase()") == [("default",)]


def test_cancel_between_blocks_keeps_the_connection(clickhouse: Client) -> None:
    rows = clickhouse.execute_iter("SELECT number, repeat('x', 100) FROM numbers(1000000)")
    next(rows)
    clickhouse.cancel()
    assert clickhouse.execute("SELECT 1") == [(1,)]


# Inserts


def test_every_supported_type_is_read_back_equal(clickhouse: Client) -> None:
    names = [f"c{number}" for number in range(len(VALUES))]
    columns = ", ".join(f"{name} {type_name}" for name, type_name in zip(names, VALUES, strict=True))
    clickhouse.execute(f"CREATE TABLE t ({columns}) ENGINE = Memory")
    clickhouse.execute("INSERT INTO t VALUES", [list(values) for values in VALUES.values()], columnar=True)

    read = clickhouse.execute("SELECT * FROM t", columnar=True)
    assert dict(zip(VALUES, map(list, read), strict=True)) == VALUES


def test_low_cardinality_with_more_than_65536_values_is_inserted(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt32, s LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("INSERT INTO t VALUES", [(number, f"key-{number}") for number in range(70_000)])
    assert clickhouse.execute("SELECT count(), countIf(s = 'key-' || toString(a)) FROM t") == [(70_000, 70_000)]


def test_insert_takes_quoted_columns_in_any_order_comments_and_settings(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE `my t` (a UInt8, `b c` String, d UInt8 DEFAULT 9) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute("/* why */ INSERT INTO `my t` (`b c`, a) SETTINGS async_insert = 0 VALUES", [("x", 1)])

    assert clickhouse.execute("SELECT * FROM `my t`") == [(1, "x", 9)]


def test_computed_columns_are_not_in_the_sample_block(clickhouse: Client) -> None:
    clickhouse.execute(
        "CREATE TABLE t (a UInt8, m UInt8 MATERIALIZED a + 1, l UInt8 ALIAS a, d UInt8 DEFAULT 5)"
        " ENGINE = MergeTree ORDER BY a"
    )
    clickhouse.execute("INSERT INTO t VALUES", [(1, 2)])
    assert clickhouse.execute("SELECT a, m, d FROM t") == [(1, 2, 2)]


def test_million_rows_make_one_part(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt32, s Nullable(String)) ENGINE = MergeTree ORDER BY a")
    rows = 1_000_000
    clickhouse.execute("INSERT INTO t VALUES", [list(range(rows)), ["x", None] * (rows // 2)], columnar=True)

    parts = "SELECT rows FROM system.parts WHERE database = currentDatabase() AND table = 't' AND active"
    assert clickhouse.execute(parts) == [(rows,)]
    assert clickhouse.execute("SELECT uniqExact(a), countIf(s IS NULL) FROM t") == [(rows, rows // 2)]


def test_insert_of_no_rows_succeeds(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    assert clickhouse.execute("INSERT INTO t VALUES", []) == 0
    assert count(clickhouse) == 0


def test_repeated_deduplication_token_inserts_once(clickhouse: Client) -> None:
    clickhouse.execute(
        "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100"
    )
    for token in ("one", "one", "two"):
        clickhouse.execute("INSERT INTO t VALUES", [(1,)], settings={"insert_deduplication_token": token})
    assert count(clickhouse) == 2


# Errors


def test_violated_constraint_names_the_row_and_keeps_the_connection(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (v Float64, CONSTRAINT c CHECK v >= 0) ENGINE = MergeTree ORDER BY v")
    clickhouse.execute("SELECT 1")
    connected = clickhouse.connection.socket
    error = refusal(lambda: clickhouse.execute("INSERT INTO t VALUES", [(1.0,), (2.0,), (-1.0,), (3.0,)]))

    assert error.code == 469
    assert "is violated at row 3" in error.message
    assert error.message.startswith("DB::Exception: Constraint")
    assert connected is not None
    assert count(clickhouse) == 0
    clickhouse.execute("INSERT INTO t VALUES", [(1.0,)])
    assert count(clickhouse) == 1


def test_connection_is_usable_after_a_refused_insert(engine: EngineProcess, database: str) -> None:
    """Below the driver's `execute`, because the driver reconnects after every exception."""
    with engine.client(database) as client:
        client.execute("CREATE TABLE t (v Int8, CONSTRAINT c CHECK v >= 0) ENGINE = MergeTree ORDER BY v")
        send_insert(client, "INSERT INTO t VALUES", [[1, -1]])
        end_insert(client)
        assert client.connection.receive_packet().exception.code == 469
        send_insert(client, "INSERT INTO t VALUES", [[1, 2]])
        end_insert(client)
        client.connection.receive_packet()
        assert client.connection.ping()
    with engine.client(database) as client:
        assert count(client) == 2


def test_data_for_a_refused_insert_is_drained(engine: EngineProcess, database: str) -> None:
    with engine.client(database) as client:
        client.connection.connect()
        client.connection.send_query("INSERT INTO no_such_table VALUES")
        client.connection.send_external_tables(None)
        client.connection.send_data(ColumnOrientedBlock([("v", "Int8")], [[1, 2, 3]]))
        end_insert(client)
        assert client.connection.receive_packet().exception.code == 60
        assert client.connection.ping()


def test_too_many_partitions_in_one_block_is_code_252(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree PARTITION BY a ORDER BY a")
    rows = [(number,) for number in range(10)]
    limit = {"max_partitions_per_insert_block": 5}
    error = refusal(lambda: clickhouse.execute("INSERT INTO t VALUES", rows, settings=limit))

    assert error.code == 252
    assert "Too many partitions for single INSERT block" in error.message
    assert count(clickhouse) == 0


def test_too_many_parts_is_code_252(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a SETTINGS parts_to_throw_insert = 1")
    clickhouse.execute("SYSTEM STOP MERGES t")
    clickhouse.execute("INSERT INTO t VALUES", [(1,)])
    error = refusal(lambda: clickhouse.execute("INSERT INTO t VALUES", [(2,)]))

    assert error.code == 252
    assert "Too many parts" in error.message


def test_throwing_materialized_view_fails_the_insert_and_leaves_its_rows(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    clickhouse.execute(
        "CREATE MATERIALIZED VIEW v ENGINE = MergeTree ORDER BY b AS SELECT throwIf(a = 13, 'unlucky') AS b FROM t"
    )
    error = refusal(lambda: clickhouse.execute("INSERT INTO t VALUES", [(1,), (13,)]))

    assert error.code == 395
    assert "unlucky" in error.message
    assert count(clickhouse) == 2


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("INSERT INTO no_such_table VALUES", 60),
        ("INSERT INTO no_such_database.t VALUES", 81),
        ("INSERT INTO t (a, no_such_column) VALUES", 16),
        ("INSERT INTO t (a VALUES", 62),
    ],
)
def test_insert_that_cannot_start_has_the_code_of_clickhouse(clickhouse: Client, query: str, code: int) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    assert refusal(lambda: clickhouse.execute(query, [(1, 2)])).code == code
    assert count(clickhouse) == 0


def test_unknown_database_is_code_81(engine: EngineProcess) -> None:
    with engine.client("no_such_database") as client:
        assert refusal(lambda: client.execute("SELECT 1")).code == 81


def test_wrong_password_and_wrong_user_are_code_516(engine: EngineProcess) -> None:
    with Client(engine.host, engine.port, password="wrong") as client:  # noqa: S106
        error = refusal(lambda: client.execute("SELECT 1"))
    with Client(engine.host, engine.port, user="nobody") as client:
        assert refusal(lambda: client.execute("SELECT 1")).code == error.code == 516


def test_user_and_password_can_be_set(tmp_path: Path) -> None:
    with EngineProcess(tmp_path, user="writer", password="s3cret") as engine:  # noqa: S106
        with engine.client() as client:
            assert client.execute("SELECT 1") == [(1,)]
        with Client(engine.host, engine.port) as client:
            assert refusal(lambda: client.execute("SELECT 1")).code == 516


@pytest.mark.parametrize(
    ("query", "code"),
    [("SELECT sumState(1)", 48), ("SELECT 1::Variant(UInt8, String)", 48), ("SELECT * FROM no_such_table", 60)],
)
def test_select_that_fails_has_the_code_of_clickhouse(clickhouse: Client, query: str, code: int) -> None:
    assert refusal(lambda: clickhouse.execute(query)).code == code
    assert clickhouse.execute("SELECT 1") == [(1,)]


def test_insert_into_an_unsupported_type_is_code_48(clickhouse: Client) -> None:
    clickhouse.execute("CREATE TABLE t (j JSON) ENGINE = MergeTree ORDER BY tuple()")
    assert refusal(lambda: clickhouse.execute("INSERT INTO t VALUES", [({"a": 1},)])).code == 48


def test_external_tables_exist_for_one_query(clickhouse: Client) -> None:
    numbers = {"name": "one", "structure": [("x", "Int32"), ("y", "LowCardinality(String)")]}
    names = {"name": "an`other", "structure": [("y", "String")], "data": [{"y": "a"}, {"y": "b"}]}
    tables = [numbers | {"data": [{"x": number, "y": "abc"[number % 3]} for number in range(-1, 10)]}, names]
    for _ in range(2):
        answer = clickhouse.execute("SELECT x FROM one WHERE y IN `an\\`other` ORDER BY x", external_tables=tables)
        assert answer == [(0,), (1,), (3,), (4,), (6,), (7,), (9,)]
    assert refusal(lambda: clickhouse.execute("SELECT x FROM one")).code == 60
    assert refusal(lambda: clickhouse.execute("SELECT z FROM one", external_tables=tables)).code == 47
    assert clickhouse.execute("SELECT count() FROM one", external_tables=tables) == [(11,)]


# Clients that die, and restarts of the server


def send_insert(client: Client, query: str, columns: list[list[Any]]) -> None:
    """The first half of an INSERT: the query and one block, without the empty block that ends it."""
    connection = client.connection
    if not connection.connected:
        connection.connect()
    connection.send_query(query)
    connection.send_external_tables(None)
    sample = connection.receive_packet().block
    connection.send_data(ColumnOrientedBlock(sample.columns_with_types, columns))


def end_insert(client: Client) -> None:
    client.connection.send_data(ColumnOrientedBlock())


@pytest.mark.parametrize("more", [b"", b"\x02\x00\x01\x00"], ids=["between blocks", "inside a block"])
def test_insert_of_a_client_that_dies_leaves_no_rows(
    engine: EngineProcess, clickhouse: Client, database: str, more: bytes
) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    with engine.client(database) as dying:
        send_insert(dying, "INSERT INTO t VALUES", [list(range(1000))])
        dying.connection.socket.sendall(more)
    clickhouse.execute("INSERT INTO t VALUES", [(1,)])
    assert count(clickhouse) == 1


def test_garbage_does_not_stop_the_server(engine: EngineProcess, clickhouse: Client) -> None:
    with socket.create_connection((engine.host, engine.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert b"Unexpected packet from client" in connection.recv(4096)
    assert clickhouse.execute("SELECT 1") == [(1,)]


def test_eight_clients_insert_at_the_same_time(engine: EngineProcess, clickhouse: Client, database: str) -> None:
    clickhouse.execute("CREATE TABLE t (a UInt64, s String) ENGINE = MergeTree ORDER BY a")
    failures: list[BaseException] = []

    def insert(first: int) -> None:
        try:
            with engine.client(database) as client:
                for start in range(first, first + 1000, 100):
                    client.execute(
                        "INSERT INTO t VALUES", [(number, "x" * 200) for number in range(start, start + 100)]
                    )
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=insert, args=(number * 1000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert clickhouse.execute("SELECT count(), uniqExact(a) FROM t") == [(8000, 8000)]


def test_slow_query_does_not_delay_others(engine: EngineProcess, clickhouse: Client) -> None:
    with engine.client() as slow:
        thread = threading.Thread(target=slow.execute, args=("SELECT sleep(2)",))
        thread.start()
        began = time.monotonic()
        assert clickhouse.execute("SELECT 1") == [(1,)]
        elapsed = time.monotonic() - began
        thread.join()
    assert elapsed < 1.5


def test_acknowledged_rows_survive_a_kill(own_engine: EngineProcess) -> None:
    with own_engine, own_engine.client() as client:
        client.execute("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
        client.execute("INSERT INTO t VALUES", [(number,) for number in range(1000)])
        own_engine.kill()
        own_engine.start()
        assert count(client) == 1000


def test_paused_server_does_not_answer_until_it_resumes(own_engine: EngineProcess) -> None:
    with own_engine, own_engine.client(send_receive_timeout=0.3, sync_request_timeout=0.3) as client:
        client.execute("SELECT 1")
        own_engine.process.pause()

        def silent() -> bool:
            try:
                client.execute("SELECT 1")
            except (OSError, EOFError, NetworkError, SocketTimeoutError):
                return True
            return False

        wait_until(silent, "a paused engine stops answering")
        own_engine.process.resume()
        assert client.execute("SELECT 1") == [(1,)]
