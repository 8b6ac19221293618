"""`metrics-worker validate` prints what would be refused, and nothing when all is valid."""

import json
import subprocess
import sys
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.events import encoded, event
from worker.cli import cli


def run(lines: list[bytes], *options: str, **environment: str) -> Result:
    """Validate `lines`; by default of any age, because the events of the tests have fixed times."""
    environment = {"EVENT_MAX_AGE_DAYS": "0"} | environment
    return CliRunner().invoke(cli, ["validate", "-", *options], input=b"\n".join(lines), env=environment)


def documents(*lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run(list(lines), "--json").stdout.splitlines()]


def test_valid_events_give_no_output_but_the_summary() -> None:
    result = run([encoded(event(metrics={"a": 1, "b": True, "model": "m"})), b"", encoded(event())])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ('2 events; 4 rows; skipped 1 string\nwarning: skipped most: metric "model" 1 (string)\n')


def test_warnings_are_summed_up_and_refuse_nothing() -> None:
    lines = [
        encoded(event()),
        encoded(event(completed_at=None)),
        encoded(event(completed_at="2026-01-01 23:59:59", metrics={"a": "812"}, labels={"attempt": 2, "m": "v"})),
        encoded(event(completed_at="2026-01-01T23:59:59.5", metrics={}, labels={"attempt": 3})),
        encoded(event(completed_at=1_767_300_000)),
    ]
    result = run(lines)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "5 events; 6 rows; skipped 1 string; skipped labels: 2 not_a_string",
        "warning: 1 event without completed_at: a copy that is sent after midnight is another row (first: line 2)",
        "warning: 2 events with a completed_at without an offset: it is read as UTC (first: line 3)",
        "warning: 2 events without a row: no metric is a number or a boolean (first: line 3)",
        'warning: skipped most: label "attempt" 2 (not_a_string), metric "a" 1 (string)',
    ]


def test_warnings_of_each_line_are_printed_with_verbose_and_json() -> None:
    line = encoded(event(completed_at=None, metrics={"a": "1"}, labels={"attempt": 2}))
    assert run([line], "-v").stdout == (
        "line 1: 0 rows; skipped 1 string; skipped labels: 1 not_a_string; without completed_at; without a row\n"
    )
    (document,) = documents(line)
    assert (document["warnings"], document["skipped_labels"]) == (
        ["no_completed_at", "no_row"],
        {"not_a_string": 1},
    )


def test_warnings_are_about_the_event_inside_a_cloudevent() -> None:
    wrapped = {"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "time": "2026-01-01T00:00:00Z"}
    result = run([encoded(wrapped | {"data": event(completed_at=None)})], "--cloudevents")
    assert "without completed_at" in result.stderr


def test_names_of_what_is_skipped_are_bounded_and_escaped() -> None:
    names = {f"\x1b[2J{number}": "x" for number in range(2_000)} | {"n" * 100_000: "x", "\ud800": "x"}
    metrics = dict(list(names.items())[-900:])
    result = run([encoded(event(metrics=metrics))] * 3)
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 1_500


def test_refused_events_and_metrics_are_explained() -> None:
    lines = [encoded(event()), encoded(event(agent_name="")), encoded(event(metrics={"a": 1, "b": float("nan")}))]
    result = run(lines)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        (
            "line 2: 0 rows; the whole event would be a dead letter, InvalidField: "
            "agent_name must be a string of 1 to 256 characters; got ''"
        ),
        'line 3: 1 row; metric "b" would be a dead letter, UnrepresentableNumber: NaN does not fit a Float64',
    ]
    assert "2 events refused, wholly or in part" in result.stderr


def test_text_lists_at_most_twenty_failures_of_a_line() -> None:
    result = run([encoded(event(metrics={f"m{number}": float("nan") for number in range(22)}))])
    assert result.stdout.count("NaN does not fit") == 20
    assert "2 more metrics would be dead letters (--json prints all)" in result.stdout


def test_verbose_prints_every_line() -> None:
    result = run([encoded(event(metrics={"a": 1, "s": "x", "n": None, "m": "y"}))], "--verbose")
    assert result.stdout == "line 1: 1 row; skipped 1 null, 2 string\n"


def test_blank_lines_count_in_line_numbers() -> None:
    found = documents(b"", b"  ", encoded(event()), b"{")
    assert [(document["line"], document["refused"]) for document in found] == [(3, False), (4, True)]
    assert found[1]["dead_lettered"][0]["error_type"] == "InvalidJSON"


def test_structured_cloudevents_are_read_with_the_option() -> None:
    wrapped = encoded({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": event()})
    assert run([wrapped], "--cloudevents").exit_code == 0
    assert run([wrapped]).exit_code == 1


def test_output_contains_no_control_sequence() -> None:
    assert "\x1b" not in run([encoded(event(metrics={"\x1b[31m" * 60: 1, "\ud800": 1}))]).stdout
    assert documents(encoded(event(metrics={"\ud800": 1})))[0]["dead_lettered"][0]["metric"] == "\\ud800"
    json_output = run([encoded(event(metrics={"\x9b31m\x7f\u202e" + "n" * 300: 1}))], "--json").stdout
    assert json_output.isascii()
    assert json_output.replace("\n", "").isprintable()


def test_age_is_limited_by_the_option_or_else_by_the_variable_of_the_worker() -> None:
    old = [encoded(event(completed_at="2001-01-01T00:00:00Z"))]
    assert "the whole event would be a dead letter, TooOld: completed_at 2001-01-01T00:00:00.000Z" in (
        run(old, "--max-age-days", "400").stdout
    )
    assert run(old, EVENT_MAX_AGE_DAYS="36500").exit_code == 0
    assert run(old, EVENT_MAX_AGE_DAYS="1").exit_code == 1
    assert run(old, "--max-age-days", "0", EVENT_MAX_AGE_DAYS="1").exit_code == 0
    assert run(old, EVENT_MAX_AGE_DAYS="x").exit_code == 2


def test_labels_of_cloudevents_are_those_of_the_option_or_else_of_the_variable_of_the_worker() -> None:
    wrapped = {"specversion": "1.0", "id": "1", "source": "s" * 300, "type": "t", "data": event()}
    line, skipped = [encoded(wrapped)], "skipped labels: 1 too_long"
    assert skipped not in run(line, "--cloudevents").stderr
    assert skipped in run(line, "--cloudevents", "--cloudevent-labels", "source").stderr
    assert skipped in run(line, "--cloudevents", EVENT_CLOUDEVENT_LABELS="traceparent, source").stderr
    assert run(line, "--cloudevents", EVENT_CLOUDEVENT_LABELS="subject").exit_code == 2


@pytest.mark.parametrize("arguments", [[], ["/no/such/file"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(cli, ["validate", *arguments]).exit_code == 2


def test_line_larger_than_the_topic_allows_is_refused() -> None:
    line = encoded(event())
    assert run([line], "--max-bytes", str(len(line))).exit_code == 0
    result = run([line], "--max-bytes", str(len(line) - 1))
    assert result.exit_code == 1
    assert f"{len(line)} bytes are more than the topic takes" in result.stdout
    (document,) = [json.loads(line) for line in run([line], "--json", "--max-bytes", "1").stdout.splitlines()]
    assert document["not_sent"] == {"error_type": "TooLarge", "bytes": len(line)}


def test_memory_is_bounded() -> None:
    """A line of 128 MiB and then 10,000 lines, 100 MB together, read in 64 MiB of memory."""
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_DATA, (2**26, 2**26));"
        "sys.argv = ['metrics-worker', 'validate', '-']; runpy.run_module('worker', run_name='__main__')"
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        for _ in range(128):
            process.stdin.write(b"x" * 2**20)
        process.stdin.write(b"\n" + (encoded(event(unknown="x" * 10_000)) + b"\n") * 10_000)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, len(out.splitlines())) == (1, 1), err[-500:]
    assert err.startswith(b"10001 events; 20000 rows")
