"""`metrics-worker variables`: the environment variables that configure the worker."""

from collections.abc import Iterable
from itertools import groupby

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.commands.command_line import json_option, print_json
from worker.commands.help_page import format_examples
from worker.settings.variables import VariableDescription, describe_variables

_EXAMPLES = format_examples(
    "metrics-worker variables",
    "metrics-worker variables --json | jq -r 'select(.required).variable'",
)


@click.command(epilog=_EXAMPLES)
@json_option("Print JSON lines, on a terminal too.")
def variables(as_json: bool) -> None:
    """List the environment variables: default, allowed values and meaning.

    It reads none of them. A variable that is empty counts as not set.
    """
    if not as_json:
        _print_tables(describe_variables())
        return
    for row in describe_variables():
        print_json(row._asdict())


def _print_tables(rows: Iterable[VariableDescription]) -> None:
    """Print a table for each theme: the name, and beside it the text, wrapped at the width of the terminal."""
    console = Console(highlight=False)
    for theme, of_theme in groupby(rows, key=lambda row: row.theme):
        console.print(Text(f"\n{theme}", style="bold"))
        table = Table(show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", ratio=1)
        for row in of_theme:
            table.add_row(Text(row.variable), _describe(row))
            table.add_section()
        console.print(table)


def _describe(row: VariableDescription) -> Text:
    default = "required" if row.required else "not set by default" if row.default is None else f"default {row.default}"
    also = f"; also {row.file}" if row.file else ""
    return Text.assemble(row.meaning, (f"\n{default}; {row.allowed}{also}", "dim"))
