"""The roles of deploy/clickhouse: the local engine parses them, and enforces none."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from worker.clickhouse.migrations import load_migrations

_FILE = Path(__file__).parents[2] / "deploy" / "clickhouse" / "roles.sql"


def statements() -> Iterator[str]:
    text = re.sub(r"^--.*$", "", _FILE.read_text("utf-8"), flags=re.MULTILINE)
    return (statement.strip() for statement in text.split(";") if statement.strip())


def commented_statements() -> list[str]:
    return re.findall(r"^-- +((?:GRANT|SYSTEM) .*?);? *(?:--.*)?$", _FILE.read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("statement", [*statements(), *commented_statements()])
def test_clickhouse_parses_every_statement(clickhouse: Client, statement: str) -> None:
    assert clickhouse.execute(f"EXPLAIN AST {statement}")


def test_worker_may_insert_and_read_no_row() -> None:
    of_the_worker = [statement for statement in statements() if statement.endswith("TO metrics_worker")]
    assert of_the_worker == [
        "GRANT INSERT ON metrics.execution_metrics TO metrics_worker",
        "GRANT SHOW TABLES ON metrics.execution_metrics_per_day_refresh TO metrics_worker",
        "GRANT SELECT ON system.view_refreshes TO metrics_worker",
    ]


def test_migrator_has_the_rights_that_a_refresh_requires_on_the_database() -> None:
    # StorageMaterializedView::prepareRefresh checks these four on the database, and a grant on a table is not enough.
    granted = next(statement for statement in statements() if "DROP TABLE" in statement)
    rights, rest = re.fullmatch(r"GRANT (.*) ON (.*)", granted, re.DOTALL).groups()  # type: ignore[union-attr]
    assert {right.strip() for right in rights.split(",")} == {"SELECT", "INSERT", "CREATE TABLE", "DROP TABLE"}
    assert rest == "metrics.* TO metrics_migrator"


def test_only_the_migrator_may_create_or_drop_and_no_role_may_do_more() -> None:
    granted = [statement for statement in statements() if statement.startswith("GRANT")]
    changing = re.compile(r"\b(CREATE|ALTER|DROP)\b")
    assert {statement.rpartition(" ")[2] for statement in granted if changing.search(statement)} == {"metrics_migrator"}
    forbidden = re.compile(r"\b(ALL|DROP DATABASE|TRUNCATE|DELETE|WITH GRANT OPTION)\b|\*\.\*")
    assert [statement for statement in granted if forbidden.search(statement)] == []


def test_migrations_create_every_table_that_is_named() -> None:
    granted = " ".join(statements())
    named = {name for name in re.findall(r"ON metrics\.(\w+)", granted) if "_migrations" not in name}
    assert named <= created_names()


def test_reader_may_read_every_view() -> None:
    read = set(re.findall(r"SELECT ON metrics\.(\w+) TO metrics_reader", " ".join(statements())))
    assert read == created_names() - {"execution_metrics_per_day_refresh"}, "it only fills a table"


def created_names() -> set[str]:
    """The tables and views that the migrations create."""
    text = "".join(migration.text for migration in load_migrations()).replace("{table}", "execution_metrics")
    return set(re.findall(r"^CREATE [A-Z ]*?(?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)", text, flags=re.MULTILINE))
