"""Predicts the result of each line with the worker's own `FanOut`, so that the two cannot disagree."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.core.model import Failed, Headers
from worker.events.fan_out import FanOut
from worker.validation.line_reader import Line

_FAN_OUT_LINES = 250
"""Lines that share a `FanOut`: creating one costs as much as the fan-out of a line."""
_FAN_OUT_BYTES = 1024 * 1024
TOO_LARGE = "TooLarge"


class LineRecord(NamedTuple):
    """A line as the Kafka record that `produce` would send; its offset is the number of the line."""

    value: bytes
    offset: int
    timestamp: int
    headers: Headers
    topic: str = ""
    partition: int = 0
    key: None = None


class ValidationResult(NamedTuple):
    """The predicted result of one line.

    Attributes:
        number: of the line, from 1.
        rows: metrics that would become rows.
        skipped: metrics that would be skipped, by JSON type.
        failed: metrics, or the whole event, that would become dead letters.
        too_large: size in bytes of a line that the topic would not take, else 0.
    """

    number: int
    rows: int
    skipped: dict[str, int]
    failed: Sequence[Failed] = ()
    too_large: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether any part of the line would be refused."""
        return bool(self.failed or self.too_large)


class Validator:
    """Validates lines, and counts the results.

    Args:
        timestamp: of the records, in milliseconds since 1970.
        headers: of each record.

    Attributes:
        lines, refused: number of lines so far, and of those that would be refused, wholly or in part.
        rows: metrics that would become rows.
        failed: dead letters, by error type.
        skipped: metrics, by JSON type.
    """

    def __init__(self, timestamp: int, headers: Headers = ()) -> None:
        self._timestamp = timestamp
        self._headers = headers
        self.lines = self.refused = self.rows = 0
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def validate(self, lines: Iterable[Line], *, include_valid: bool) -> Iterator[ValidationResult]:
        """Yield the result of each line that would be refused, or of every line."""
        fanned, count, size = FanOut(), 0, 0
        for line in lines:
            count, size = count + 1, size + line.size
            if count > _FAN_OUT_LINES or size > _FAN_OUT_BYTES:
                self._add_counts(fanned)
                fanned, count, size = FanOut(), 1, line.size
            self.lines += 1
            if line.content is None:
                self.failed[TOO_LARGE] += 1
                result: ValidationResult | None = ValidationResult(line.number, 0, {}, too_large=line.size)
            else:
                record = LineRecord(line.content, line.number, self._timestamp, self._headers)
                result = _validate(record, fanned, include_valid=include_valid)
            if result is not None:
                self.refused += result.is_refused
                yield result
        self._add_counts(fanned)

    def _add_counts(self, fanned: FanOut) -> None:
        self.rows += fanned.rows
        self.skipped += fanned.skipped
        self.failed.update(item.failure.error_type for item in fanned.failed)


def _validate(record: LineRecord, fanned: FanOut, *, include_valid: bool) -> ValidationResult | None:
    """Add `record` to `fanned`; returns what this has changed, or None for a valid line without `include_valid`."""
    rows_before, failed_before = fanned.rows, len(fanned.failed)
    skipped_before = fanned.skipped.copy() if include_valid else fanned.skipped
    fanned.add_record(record)
    failed = fanned.failed[failed_before:]
    if not (include_valid or failed):
        return None
    return ValidationResult(record.offset, fanned.rows - rows_before, dict(fanned.skipped - skipped_before), failed)
