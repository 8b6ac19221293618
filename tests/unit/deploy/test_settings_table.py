"""The tables of variables in the documentation."""

import re
from pathlib import Path

import pytest

from deploy.settings_table import BEGIN, END, THEMES, render_tables, replace_tables
from worker.settings.fields import Settings

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "CONFIGURATION.md"


@pytest.fixture
def rows() -> dict[str, str]:
    """The row of each variable."""
    return {line.split("`")[1]: line for line in render_tables().splitlines() if line.startswith("| `")}


def test_every_variable_has_a_row(rows: dict[str, str]) -> None:
    assert list(rows) == [name.upper() for name in Settings.model_fields]
    assert all(row.count("|") == 5 for row in rows.values())


def test_every_theme_is_a_heading() -> None:
    assert re.findall("^## (.*)$", render_tables(), re.MULTILINE) == list(THEMES.values())


def test_rows_show_defaults_and_secret_files(rows: dict[str, str]) -> None:
    assert "| **required** |" in rows["CLICKHOUSE_HOST"]
    assert "(also `CLICKHOUSE_PASSWORD_FILE`)" in rows["CLICKHOUSE_PASSWORD"]
    assert "| 9000; 9440 with CLICKHOUSE_SECURE |" in rows["CLICKHOUSE_PORT"]
    assert "| `true` |" in rows["PERSISTENCE_ENABLED"]
    assert "| `8388608` |" in rows["BATCH_MAX_BYTES"]
    assert "| `dead_letter` |" in rows["ON_UNAVAILABLE"]


def test_tables_replace_what_is_between_the_markers() -> None:
    tables = render_tables()
    assert replace_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{BEGIN}\n{tables}\n{END}\nafter\n"
    with pytest.raises(ValueError, match="settings:begin"):
        replace_tables("no markers")


def test_configuration_page_has_the_current_tables() -> None:
    page = CONFIGURATION.read_text(encoding="utf-8")
    assert replace_tables(page) == page, "run: python -m deploy.settings_table deploy/CONFIGURATION.md"
