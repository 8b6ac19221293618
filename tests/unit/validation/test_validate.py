"""`metrics-worker validate`: quiet when all is well, and of one opinion with the worker."""

import io
import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.fuzz.generate import make
from tests.support.events import Record, encoded, event
from worker.cli import cli
from worker.events.fan_out import FanOut
from worker.validation.line_reader import Line, read_lines
from worker.validation.validator import ValidationResult, Validator


def run(lines: list[bytes], *options: str) -> Result:
    return CliRunner().invoke(cli, ["validate", "-", *options], input=b"\n".join(lines))


def documents(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestCommand:
    def test_is_quiet_when_all_is_well(self) -> None:
        result = run([encoded(event(metrics={"a": 1, "b": True, "model": "m"})), b"", encoded(event())])
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == "2 events; 4 rows; skipped 1 string\n"

    def test_says_what_would_be_refused_in_words(self) -> None:
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

    def test_says_all_of_it_when_asked(self) -> None:
        result = run([encoded(event(metrics={"a": 1, "s": "x", "n": None, "m": "y"}))], "--verbose")
        assert result.stdout == "line 1: 1 row; skipped 1 null, 2 string\n"

    def test_numbers_lines_as_an_editor_does(self) -> None:
        result = run([b"", b"  ", encoded(event()), b"{"], "--json")
        assert [(found["line"], found["refused"]) for found in documents(result)] == [(3, False), (4, True)]
        assert documents(result)[1]["dead_lettered"][0]["error_type"] == "InvalidJSON"

    def test_reads_structured_cloudevents(self) -> None:
        wrapped = encoded({"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": event()})
        assert run([wrapped], "--cloudevents").exit_code == 0
        assert run([wrapped]).exit_code == 1

    def test_shows_no_control_sequence(self) -> None:
        result = run([encoded(event(metrics={"\x1b[31m" * 60: 1, "\ud800": 1}))])
        assert "\x1b" not in result.stdout
        assert result.exit_code == 1
        assert (
            documents(run([encoded(event(metrics={"\ud800": 1}))], "--json"))[0]["dead_lettered"][0]["metric"]
            == "\\ud800"
        )

    def test_shows_no_control_sequence_in_json_either(self) -> None:
        found = run([encoded(event(metrics={"\x9b31m\x7f\u202e" + "n" * 300: 1}))], "--json").stdout
        assert found.isascii()
        assert found.replace("\n", "").isprintable()

    def test_wrong_usage_is_2(self) -> None:
        assert CliRunner().invoke(cli, ["validate"]).exit_code == 2
        assert CliRunner().invoke(cli, ["validate", "/no/such/file"]).exit_code == 2

    def test_what_the_topic_does_not_take_is_refused(self) -> None:
        line = encoded(event())
        assert run([line], "--max-bytes", str(len(line))).exit_code == 0
        result = run([line], "--max-bytes", str(len(line) - 1))
        assert result.exit_code == 1
        assert f"{len(line)} bytes are more than the topic takes" in result.stdout


@pytest.mark.parametrize("size", [1, 5, 6, 7, 100_000, 200_000])
def test_of_a_giant_line_only_the_size_is_kept(size: int) -> None:
    found = list(read_lines(io.BytesIO(b"x" * size + b"\nabc"), 6))
    content = b"x" * size if size <= 6 else None
    assert found == [Line(1, content, size), Line(2, b"abc", 3)]


def test_memory_is_bounded_whatever_the_input() -> None:
    """Half a gigabyte in one line and then 200,000 lines, read with far less memory than that."""
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (2**29, 2**29));"
        "sys.argv = ['metrics-worker', 'validate', '-']; runpy.run_module('worker', run_name='__main__')"
    )
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        for _ in range(512):
            process.stdin.write(b"x" * 2**20)
        process.stdin.write(b"\n" + (encoded(event()) + b"\n") * 200_000)
        out, err = process.communicate(timeout=100)
    assert (process.returncode, len(out.splitlines())) == (1, 1), err[-500:]
    assert err.startswith(b"200001 events; 400000 rows")


def test_says_what_the_worker_does_of_every_record_of_the_fuzz_corpus() -> None:
    """Judged in the company of others, each record has the fate that it has alone."""
    judged = 0
    for number in range(6_000):
        record = make(7, number)
        if not record.value or record.unreadable or len(record.value) > 4_000_000:
            continue
        validator = Validator(record.timestamp, record.headers)
        lines = [Line(1, encoded(event(metrics={"a": 1, "s": ""})), 0), Line(2, record.value, len(record.value))]
        _, verdict = validator.validate(lines, include_valid=True)
        alone = FanOut()
        alone.add_record(Record(record.value, offset=2, timestamp=record.timestamp, headers=tuple(record.headers)))
        assert (verdict.rows, verdict.skipped) == (alone.rows, dict(alone.skipped)), record.name
        assert fate(verdict) == Counter(str(item.failure) for item in alone.failed), record.name
        judged += 1
    assert judged > 5_000


def fate(verdict: ValidationResult) -> Counter[str]:
    return Counter(str(item.failure) for item in verdict.failed)


def test_lines_are_those_that_produce_sends() -> None:
    text = b'a\r\n\n \n{"x": 1}\n\xe2\x80\xa8b\x0b\n'
    sent = [line for line in text.split(b"\n") if line.strip()]
    assert [line.content for line in read_lines(io.BytesIO(text), 100)] == sent
