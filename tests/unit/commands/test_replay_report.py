"""The report of a replay as a table."""

import pytest

from worker.commands.replay_report import print_report
from worker.replay.report import Report

REPORT: Report = {
    "dry_run": False,
    "classes": {"row_refused": {"chosen": 1_200, "written": 7, "failed_again": 3, "left": {"damaged \x1b[31m": 2}}},
    "foreign": 1,
    "other_tables": {"other.table": 2},
    "beyond_limit": 4,
    "metrics_written": 7,
    "failed_as": {"too_large": 3},
    "remaining": 5,
    "interrupted": False,
    "problem": None,
}


def print_lines(report: Report, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_report(report, as_json=False)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_report_has_a_row_for_each_class_and_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    lines = print_lines(REPORT, capsys)
    assert "┃ class ┃ chosen ┃ written ┃ failed again ┃" in lines
    assert "│ row_refused │ 1,200 │ 7 │ 3 │" in lines
    assert lines[5:] == [
        "2 row_refused: damaged \\x1b[31m",
        "3 failed again: metrics-worker dlq list --error-class too_large",
        "4 beyond --limit",
        "records on the topic that are no dead letters (metrics-worker dlq list): 1",
        "2 were meant for other.table and are left alone (--any-table)",
        "5 left to do",
    ]


def test_report_of_a_replay_that_ended_early_does_not_say_how_many_are_left(capsys: pytest.CaptureFixture[str]) -> None:
    early: Report = {**REPORT, "remaining": None, "beyond_limit": 0}
    assert print_lines(early, capsys)[-1] == "not all dead letters were read"
    lines = print_lines({**early, "beyond_limit": 1}, capsys)
    assert lines[-1] == "more are left, beyond --limit"
    assert not any("1 beyond" in line for line in lines), "it has not counted them"


def test_report_of_a_dry_run_says_that_nothing_was_written(capsys: pytest.CaptureFixture[str]) -> None:
    lines = print_lines({**REPORT, "dry_run": True, "remaining": 0}, capsys)
    assert "┃ class ┃ chosen ┃ would be written ┃ would fail ┃" in lines
    assert lines[-1] == "dry run: nothing was written; nothing left to do"
