"""The options that select dead letters."""

from time import time

import click
import pytest
from click.testing import CliRunner

from worker.commands.options import (
    dead_letter_filter_options,
    parse_instant,
    parse_position,
    parse_reason,
    print_if_none_matches,
)
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition
from worker.dead_letters.filters import DeadLetterFilter

SELECTIONS: list[DeadLetterFilter] = []


@click.command()
@dead_letter_filter_options
def command(selection: DeadLetterFilter) -> None:
    SELECTIONS.append(selection)


def test_options_make_a_selection() -> None:
    arguments = "--error-class row_refused --error-class too_large --error-type T --error-code 469 --metric m --agent a"
    arguments += " --cause 01ab23cd --cause foreign"
    arguments += " --since 1970-01-01T00:00:01Z --until 1970-01-01T00:00:02Z --partition 3 --offset 42"
    assert CliRunner().invoke(command, arguments).exit_code == 0
    classes = frozenset({ErrorClass.ROW_REFUSED, ErrorClass.TOO_LARGE})
    criteria = frozenset({"T"}), frozenset({469}), frozenset({"m"}), frozenset({"a"})
    expected = DeadLetterFilter(frozenset({"01ab23cd", "foreign"}), classes, *criteria, 1_000, 2_000, 3, 42)
    assert SELECTIONS.pop() == expected
    assert CliRunner().invoke(command, []).exit_code == 0
    assert SELECTIONS.pop() == DeadLetterFilter()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--offset 42", "--offset needs --partition"),
        ("--since 1h --until 2h", "--since is not before --until"),
        ("--error-class unknown", "Invalid value"),
        ("--cause 01AB23CD", "no ID of a cause"),
    ],
)
def test_selection_that_matches_nothing_is_wrong_usage(arguments: str, message: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.5+00:00", 500),
    ],
)
def test_instant_is_a_time_with_an_offset(text: str, milliseconds: int) -> None:
    assert parse_instant(text) == milliseconds


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("7d", 604_800)])
def test_instant_is_a_duration_before_now(text: str, seconds: int) -> None:
    assert abs(time() - seconds - parse_instant(text) / 1000) < 60


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T00:00:00", "5", "5w", "-5m"])
def test_other_instants_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="so long ago"):
        parse_instant(text)


def test_position_is_partition_and_offset() -> None:
    assert parse_position("3:42") == DeadLetterPosition(3, 42)
    assert str(DeadLetterPosition(3, 42)) == "3:42"


@pytest.mark.parametrize("text", ["3", "3:", ":42", "3:-1", "a:b", "3:42:1"])
def test_other_positions_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="PARTITION:OFFSET"):
        parse_position(text)


def test_reason_that_the_journal_would_cut_is_refused() -> None:
    assert parse_reason("ü" * 1_000) == "ü" * 1_000
    with pytest.raises(click.BadParameter, match="a reason has at most 1,000 characters, not 1,001"):
        parse_reason("ü" * 1_001)


def test_filters_that_match_nothing_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    print_if_none_matches(DeadLetterFilter(), 0)
    print_if_none_matches(DeadLetterFilter(frozenset({"01ab23cd"})), 1)
    assert capsys.readouterr().err == ""
    print_if_none_matches(DeadLetterFilter(frozenset({"01ab23cd"})), 0, "discarded")
    assert capsys.readouterr().err == "no discarded dead letter matches the filters\n"
