"""The tables of all variables, one per theme, for deploy/CONFIGURATION.md.

`python -m deploy.settings_table deploy/CONFIGURATION.md` writes them there.
"""

import sys
from itertools import groupby
from pathlib import Path

from deploy.markers import replace_between
from worker.settings.variables import VariableDescription, describe_variables

BEGIN = "<!-- settings:begin -->"
END = "<!-- settings:end -->"


def render_tables() -> str:
    """All variables as Markdown tables with headings, without a line break at the end."""
    lines: list[str] = []
    for theme, rows in groupby(describe_variables(), key=lambda row: row.theme):
        lines += ["", f"## {theme}", "", "| Variable | Default | Allowed | Meaning |", "|---|---|---|---|"]
        lines += map(_format_row, rows)
    return "\n".join([*lines, ""])


def replace_tables(document: str) -> str:
    """Put the tables between the two markers in `document`; raises ValueError if it lacks them."""
    return replace_between(document, BEGIN, END, render_tables())


def _format_row(row: VariableDescription) -> str:
    also = f" (also `{row.file}`)" if row.file else ""
    default = "**required**" if row.required else f"`{row.default}`" if row.default else ""
    cells = (f"`{row.variable}`{also}", default, row.allowed, row.meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replace_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
