"""Predicts the result of each line with the worker's own `FanOut`, so that the two cannot disagree."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.core.line_splitter import Line
from worker.core.model import Failed, Headers
from worker.events.decode import DEFAULT_MAX_AGE_DAYS
from worker.events.fan_out import FanOut

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

    `rows` counts metrics, and `skipped` others by JSON type. `failed` would become dead letters. `too_large` is the
    size in bytes of a line that the topic would not take, else 0.
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
    """Validates lines, and counts the results; `timestamp` (of the records) is in milliseconds since 1970.

    `max_age_days` is as in `worker.events.decode.decode`.

    Attributes:
        lines, refused: number of lines so far, and of those that would be refused, wholly or in part.
        failed: dead letters, by error type.
        skipped: metrics, by JSON type.
    """

    def __init__(self, timestamp: int, headers: Headers = (), *, max_age_days: int = DEFAULT_MAX_AGE_DAYS) -> None:
        self._timestamp = timestamp
        self._headers = headers
        self._max_age_days = max_age_days
        self.lines = self.refused = self.rows = 0
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def validate(self, lines: Iterable[Line], *, include_valid: bool) -> Iterator[ValidationResult]:
        """Yield the result of each line that would be refused, or of every line."""
        for line in lines:
            self.lines += 1
            if line.content is None:
                result = ValidationResult(line.number, 0, {}, too_large=line.size)
                self.failed[TOO_LARGE] += 1
            else:
                result = self._predict(line.number, line.content)
            self.refused += result.is_refused
            if include_valid or result.is_refused:
                yield result

    def _predict(self, number: int, content: bytes) -> ValidationResult:
        fan_out = FanOut(self._max_age_days)
        fan_out.add_record(LineRecord(content, number, self._timestamp, self._headers))
        self.rows += fan_out.rows
        self.skipped += fan_out.skipped
        self.failed.update(item.failure.error_type for item in fan_out.failed)
        return ValidationResult(number, fan_out.rows, dict(fan_out.skipped), fan_out.failed)
