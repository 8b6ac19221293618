"""The roles of deploy/clickhouse, as far as the local engine can tell: it parses them, and enforces none."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from worker.clickhouse.migration import known_migrations

_FILE = Path(__file__).parents[2] / "deploy" / "clickhouse" / "roles.sql"


def statements() -> Iterator[str]:
    text = re.sub(r"^--.*$", "", _FILE.read_text("utf-8"), flags=re.MULTILINE)
    return (statement.strip() for statement in text.split(";") if statement.strip())


@pytest.mark.parametrize("statement", list(statements()))
def test_is_sql_that_clickhouse_understands(clickhouse: Client, statement: str) -> None:
    assert clickhouse.execute(f"EXPLAIN AST {statement}")


def test_the_worker_may_only_insert() -> None:
    of_the_worker = [statement for statement in statements() if statement.endswith("TO metrics_worker")]
    assert of_the_worker == ["GRANT INSERT ON metrics.execution_metrics TO metrics_worker"]


def test_nobody_may_drop_or_empty_a_table_but_the_locks_of_migrations() -> None:
    granted = [statement for statement in statements() if statement.startswith("GRANT")]
    drops = [statement for statement in granted if "DROP TABLE" in statement]
    assert drops == ["GRANT DROP TABLE ON metrics.execution_metrics_migrations_lock_* TO metrics_migrator"]
    forbidden = re.compile(r"\b(ALL|DROP DATABASE|TRUNCATE|DELETE|WITH GRANT OPTION)\b")
    assert [statement for statement in granted if forbidden.search(statement)] == []


def test_what_is_named_is_made_by_the_migrations() -> None:
    granted = " ".join(statements())
    named = {name for name in re.findall(r"ON metrics\.(\w+)", granted) if "_migrations" not in name}
    assert named <= made()


def test_readers_may_read_every_view() -> None:
    read = set(re.findall(r"SELECT ON metrics\.(\w+) TO metrics_reader", " ".join(statements())))
    assert read == made() - {"execution_metrics_per_day_refresh"}, "a materialized view that only fills a table"


def made() -> set[str]:
    """The tables and views that the migrations make."""
    text = "".join(migration.text for migration in known_migrations()).replace("{table}", "execution_metrics")
    return set(re.findall(r"^CREATE [A-Z ]*?(?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", text, flags=re.MULTILINE))
