"""The options that select dead letters."""

import click
import pytest
from click.testing import CliRunner

from worker.commands.options import dead_letter_filter_options
from worker.core.errors import ErrorClass
from worker.dead_letters.filters import DeadLetterFilter

SELECTIONS: list[DeadLetterFilter] = []


@click.command()
@dead_letter_filter_options
def command(selection: DeadLetterFilter) -> None:
    SELECTIONS.append(selection)


def test_options_make_a_selection() -> None:
    arguments = "--error-class row_refused --error-class too_large --error-code 469 --metric m --agent a"
    arguments += " --since 1970-01-01T00:00:01Z --until 1970-01-01T00:00:02Z --partition 3 --offset 42"
    assert CliRunner().invoke(command, arguments).exit_code == 0
    classes = frozenset({ErrorClass.ROW_REFUSED, ErrorClass.TOO_LARGE})
    expected = DeadLetterFilter(classes, frozenset({469}), frozenset({"m"}), frozenset({"a"}), 1_000, 2_000, 3, 42)
    assert SELECTIONS.pop() == expected
    assert CliRunner().invoke(command, []).exit_code == 0
    assert SELECTIONS.pop() == DeadLetterFilter()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--offset 42", "--offset needs --partition"),
        ("--since 1h --until 2h", "--since is not before --until"),
        ("--error-class unknown", "Invalid value"),
    ],
)
def test_selection_that_matches_nothing_is_wrong_usage(arguments: str, message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
