"""The predicted result of a line is the one that the worker's fan-out gives."""

import io

import pytest

from tests.fuzz.generate import ORDINARY, make_record
from tests.support.events import Record, encoded, event
from worker.core.line_splitter import Line
from worker.events.fan_out import FanOut
from worker.validation.line_reader import read_lines
from worker.validation.validator import Validator


@pytest.mark.parametrize("size", [1, 5, 6, 7, 100_000, 200_000])
def test_reader_keeps_only_the_size_of_a_long_line(size: int) -> None:
    lines = list(read_lines(io.BytesIO(b"x" * size + b"\nabc"), 6))
    content = b"x" * size if size <= 6 else None
    assert lines == [Line(1, content, size), Line(2, b"abc", 3)]


def test_reader_skips_the_blank_lines_that_produce_skips() -> None:
    text = b'a\r\n\n \n{"x": 1}\n\xe2\x80\xa8b\x0b\n'
    sent = [line for line in text.split(b"\n") if line.strip()]
    assert [line.content for line in read_lines(io.BytesIO(text), 100)] == sent


def test_validator_agrees_with_the_fan_out_on_the_fuzz_corpus() -> None:
    """A record after another line has the same result as a record alone."""
    compared = 0
    for number in range(ORDINARY, ORDINARY + 6_000):
        record = make_record(7, number)
        if not record.value or record.unreadable or len(record.value) > 4_000_000:
            continue
        validator = Validator(record.timestamp, record.headers)
        lines = [Line(1, encoded(event(metrics={"a": 1, "s": ""})), 0), Line(2, record.value, len(record.value))]
        _, result = validator.validate(lines, include_valid=True)
        alone = FanOut()
        alone.add_record(Record(record.value, offset=2, timestamp=record.timestamp, headers=tuple(record.headers)))
        assert (result.rows, result.skipped) == (alone.rows, dict(alone.skipped)), record.name
        assert [str(item.failure) for item in result.failed] == [str(item.failure) for item in alone.failed], (
            record.name
        )
        compared += 1
    assert compared > 5_000
