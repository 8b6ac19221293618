"""The roles of deploy/clickhouse, as far as the local engine can tell: it parses them, and enforces none."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from worker.clickhouse.migrations import migrations

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


def test_nobody_may_drop_or_empty_a_table() -> None:
    granted = " ".join(statement for statement in statements() if statement.startswith("GRANT"))
    assert not re.search(r"\b(ALL|DROP TABLE|DROP DATABASE|TRUNCATE|DELETE|WITH GRANT OPTION)\b", granted)


def test_what_is_named_is_made_by_the_migrations() -> None:
    made = "".join(migration.text for migration in migrations()).replace("{table}", "execution_metrics")
    named = {
        name for name in re.findall(r"ON metrics\.(\w+)", " ".join(statements())) if not name.endswith("_migrations")
    }
    assert named
    assert [name for name in named if not re.search(rf"EXISTS {name}\b", made)] == []
