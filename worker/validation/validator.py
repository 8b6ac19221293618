"""The fate of each line, by the worker's own `FanOut`: there is no second opinion here."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from worker.core.model import Failed, Record
from worker.events.fan_out import FanOut
from worker.validation.line_reader import Line

_TOGETHER = 250
"""Lines that share a `FanOut`: a new one for each line would cost as much as the fan-out itself."""
_TOGETHER_BYTES = 1024 * 1024
TOO_LARGE = "TooLarge"


class LineRecord(NamedTuple):
    """A line as the record that it would be: the offset is the number of the line."""

    value: bytes
    offset: int
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]]
    topic: str = ""
    partition: int = 0
    key: None = None


class ValidationResult(NamedTuple):
    """What would become of one line.

    Attributes:
        number: of the line, from 1.
        rows: metrics that would be rows.
        skipped: metrics that would be skipped, by JSON type.
        failed: metrics, or the whole event, that would be dead letters.
        too_large: bytes of the line where the topic would not take it, else 0.
    """

    number: int
    rows: int
    skipped: dict[str, int]
    failed: Sequence[Failed] = ()
    too_large: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether any of it would be refused."""
        return bool(self.failed or self.too_large)


class Validator:
    """Says what would become of lines, and counts it.

    Args:
        timestamp: of the records, in milliseconds since 1970.
        headers: of each record.

    Attributes:
        lines, refused, rows: how many there were so far.
        failed: dead letters, by type of the error.
        skipped: metrics, by JSON type.
    """

    def __init__(self, timestamp: int, headers: Sequence[tuple[str, bytes | None]] = ()) -> None:
        self._timestamp = timestamp
        self._headers = headers
        self.lines = self.refused = self.rows = 0
        self.failed: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()

    def judge(self, lines: Iterable[Line], *, all_of_them: bool) -> Iterator[ValidationResult]:
        """The verdict on each line that would be refused, or on every one."""
        fanned, number, size = FanOut(), 0, 0
        for line in lines:
            number, size = number + 1, size + line.size
            if number > _TOGETHER or size > _TOGETHER_BYTES:
                self._count(fanned)
                fanned, number, size = FanOut(), 1, line.size
            if line.content is None:
                self.refused += 1
                self.lines += 1
                self.failed[TOO_LARGE] += 1
                yield ValidationResult(line.number, 0, {}, too_large=line.size)
                continue
            verdict = self._verdict(
                fanned, LineRecord(line.content, line.number, self._timestamp, self._headers), all_of_them
            )
            if verdict is not None:
                yield verdict
        self._count(fanned)

    def _verdict(self, fanned: FanOut, record: Record, always: bool) -> ValidationResult | None:
        rows, failures = fanned.rows, len(fanned.failed)
        skipped = fanned.skipped.copy() if always else None
        fanned.add_record(record)
        self.lines += 1
        failed = fanned.failed[failures:]
        self.refused += bool(failed)
        if not (always or failed):
            return None
        return ValidationResult(
            record.offset, fanned.rows - rows, dict(fanned.skipped - skipped) if skipped is not None else {}, failed
        )

    def _count(self, fanned: FanOut) -> None:
        self.rows += fanned.rows
        self.skipped += fanned.skipped
        self.failed.update(item.failure.error_type for item in fanned.failed)
