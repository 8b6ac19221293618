"""The tables of variables in the documentation."""

from pathlib import Path

import pytest

from deploy.settings_table import BEGIN, END, render_tables, replace_tables
from worker.settings.fields import Settings

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "CONFIGURATION.md"


def test_every_variable_has_a_row() -> None:
    rows = [line for line in render_tables().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [name.upper() for name in Settings.model_fields]
    assert all(row.count("|") == 5 for row in rows)


def test_tables_replace_what_is_between_the_markers() -> None:
    tables = render_tables()
    assert replace_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{BEGIN}\n{tables}\n{END}\nafter\n"
    with pytest.raises(ValueError, match="settings:begin"):
        replace_tables("no markers")


def test_configuration_page_has_the_current_tables() -> None:
    page = CONFIGURATION.read_text(encoding="utf-8")
    assert replace_tables(page) == page, "run: python -m deploy.settings_table deploy/CONFIGURATION.md"
