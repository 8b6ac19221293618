"""The roles of deploy/clickhouse, as far as the local engine can tell: it parses them, and enforces none."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from worker.clickhouse.migrations import known_migrations

_FILE = Path(__file__).parents[2] / "deploy" / "clickhouse" / "roles.sql"


def statements() -> Iterator[str]:
    text = re.sub(r"^--.*$", "", _FILE.read_text("utf-8"), flags=re.MULTILINE)
    return (statement.strip() for statement in text.split(";") if statement.strip())


@pytest.mark.parametrize("statement", list(statements()))
def test_is_sql_that_clickhouse_understands(clickhouse: Client, statement: str) -> None:
    assert clickhouse.execute(f"EXPLAIN AST {statement}")


@pytest.mark.parametrize(
    "statement", re.findall(r"^-- +((?:GRANT|SYSTEM) .*?);? *(?:--.*)?$", _FILE.read_text("utf-8"), re.MULTILINE)
)
def test_what_its_comments_offer_is_sql_too(clickhouse: Client, statement: str) -> None:
    assert clickhouse.execute(f"EXPLAIN AST {statement}")


def test_the_worker_may_only_insert() -> None:
    of_the_worker = [statement for statement in statements() if statement.endswith("TO metrics_worker")]
    assert of_the_worker == ["GRANT INSERT ON metrics.execution_metrics TO metrics_worker"]


def test_the_migrator_may_on_the_whole_database_what_a_refresh_asks_of_its_definer() -> None:
    # StorageMaterializedView::prepareRefresh checks these four on the database, and a grant on a table is not enough.
    granted = next(statement for statement in statements() if "DROP TABLE" in statement)
    rights, rest = re.fullmatch(r"GRANT (.*) ON (.*)", granted, re.DOTALL).groups()  # type: ignore[union-attr]
    assert {right.strip() for right in rights.split(",")} == {"SELECT", "INSERT", "CREATE TABLE", "DROP TABLE"}
    assert rest == "metrics.* TO metrics_migrator"


def test_nobody_but_the_migrator_may_make_or_drop_and_nobody_what_no_command_does() -> None:
    granted = [statement for statement in statements() if statement.startswith("GRANT")]
    changing = re.compile(r"\b(CREATE|ALTER|DROP)\b")
    assert {statement.rpartition(" ")[2] for statement in granted if changing.search(statement)} == {"metrics_migrator"}
    forbidden = re.compile(r"\b(ALL|DROP DATABASE|TRUNCATE|DELETE|WITH GRANT OPTION)\b|\*\.\*")
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
