"""Predicts the result of each line with the worker's own `FanOut`, so that the two cannot disagree."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from worker.core.frequent_items import FrequentItems
from worker.core.line_splitter import Line
from worker.core.model import Failed, Headers, SkippedItem
from worker.events.cloudevents import unwrap_cloudevent
from worker.events.completed_at import has_offset
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.events.fan_out import FanOut
from worker.events.skip_counter import count_by_name
from worker.events.tolerant_json import parse_json

TOO_LARGE = "TooLarge"


class EventWarning(StrEnum):
    """What is accepted in an event, and yet may be a mistake of its producer."""

    NO_COMPLETED_AT = "no_completed_at"
    NO_OFFSET = "no_offset"
    NO_ROW = "no_row"


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

    `rows` counts metrics, `skipped` others by JSON type, and `skipped_labels` by reason. `failed` would become dead
    letters. `too_large` is the size in bytes of a line that the topic would not take, else 0.
    """

    number: int
    rows: int
    skipped: dict[str, int]
    skipped_labels: dict[str, int]
    warnings: Sequence[EventWarning] = ()
    failed: Sequence[Failed] = ()
    too_large: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether any part of the line would be refused."""
        return bool(self.failed or self.too_large)


class Validator:
    """Validates lines, and counts the results; `timestamp` (of the records) is in milliseconds since 1970.

    `event_policy` is as in `worker.events.decode.decode`.

    Attributes:
        lines, refused: number of lines so far, and of those that would be refused, wholly or in part.
        failed: dead letters, by error type.
        skipped, skipped_labels: metrics, by JSON type, and labels, by reason.
        skipped_items: the metrics and labels that are skipped most.
        warned: number of lines with each warning, and the first of them.
    """

    def __init__(self, timestamp: int, headers: Headers = (), event_policy: EventPolicy = DEFAULT_POLICY) -> None:
        self._timestamp = timestamp
        self._headers = headers
        self._event_policy = event_policy
        self.lines = self.refused = self.rows = 0
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.skipped_labels: Counter[str] = Counter()
        self.skipped_items: FrequentItems[SkippedItem] = FrequentItems()
        self.warned: dict[EventWarning, tuple[int, int]] = {}

    def validate(self, lines: Iterable[Line], *, include_valid: bool) -> Iterator[ValidationResult]:
        """Yield the result of each line that would be refused, or of every line."""
        for line in lines:
            self.lines += 1
            if line.content is None:
                result = ValidationResult(line.number, 0, {}, {}, too_large=line.size)
                self.failed[TOO_LARGE] += 1
            else:
                result = self._predict(line.number, line.content)
            self.refused += result.is_refused
            if include_valid or result.is_refused:
                yield result

    def _predict(self, number: int, content: bytes) -> ValidationResult:
        fan_out = FanOut(self._event_policy)
        fan_out.add_record(LineRecord(content, number, self._timestamp, self._headers))
        warnings = list(self._find_warnings(content, fan_out)) if fan_out.events else []
        for warning in warnings:
            count, first = self.warned.get(warning, (0, number))
            self.warned[warning] = count + 1, first
        self.rows += fan_out.rows
        self.skipped += fan_out.skipped
        self.skipped_labels += fan_out.skipped_labels.by_reason()
        self.skipped_items.add(count_by_name(fan_out.skipped_metrics, fan_out.skipped_labels))
        self.failed.update(item.failure.error_type for item in fan_out.failed)
        skipped, skipped_labels = dict(fan_out.skipped), dict(fan_out.skipped_labels.by_reason())
        return ValidationResult(number, fan_out.rows, skipped, skipped_labels, warnings, fan_out.failed)

    def _find_warnings(self, content: bytes, fan_out: FanOut) -> Iterator[EventWarning]:
        """The warnings about a line that is an event."""
        document = unwrap_cloudevent(self._headers, parse_json(content))
        completed_at = document.get("completed_at") if isinstance(document, dict) else None
        if completed_at is None:
            yield EventWarning.NO_COMPLETED_AT
        elif not has_offset(completed_at):
            yield EventWarning.NO_OFFSET
        if not fan_out.rows:
            yield EventWarning.NO_ROW
