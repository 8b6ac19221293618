"""From events to blocks: every number is a row, everything else is skipped by a documented rule or a failed metric."""

from collections import Counter
from collections.abc import Collection
from datetime import date, timedelta

import structlog

from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.model import Event, Failed, FailedEvent, FailedMetric, Failure, Record, Unrepresentable
from worker.events.block import Block
from worker.events.decode import MAX_NAME_LENGTH, decode, is_encodable, json_type

log = structlog.get_logger(__name__)

_NUMBERS = frozenset({int, float, bool})
_DAY = 86_400_000


class FanOut:
    """What a run of records came to: the fate of each metric is in exactly one of these.

    Attributes:
        blocks: the rows, by month of `completed_at`.
        failed: metrics and events that will be dead letters.
        skipped: how many metrics were skipped, by JSON type.
        tombstones: how many records had no value.
        events: how many records were events.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, Block] = {}
        self.failed: list[Failed] = []
        self.skipped: Counter[str] = Counter()
        self.tombstones = 0
        self.events = 0
        self._rows = 0

    def __len__(self) -> int:
        """Rows and failures, that is what is held in memory."""
        return self._rows + len(self.failed)

    @property
    def rows(self) -> int:
        """How many rows the blocks hold."""
        return self._rows

    def add_record(self, record: Record) -> None:
        """Decode one record and put each of its metrics where it belongs; never raises, whatever the bytes."""
        try:
            event = decode(record)
        except InvalidEvent as error:
            self._refuse(record, error.reason, str(error))
            return
        except Exception as error:
            log.exception("decode failed unexpectedly", source=f"{record.topic}/{record.partition}/{record.offset}")
            self._refuse(record, type(error).__name__, f"the worker could not read it: {error}")
            return
        if event is None:
            self.tombstones += 1
            return
        self.events += 1
        self.add_event(event)

    def add_event(self, event: Event) -> None:
        """Put each metric of an event where it belongs."""
        metrics = event.metrics
        if not metrics:
            return  # no row, hence no block either
        # The ordinary event: nothing but numbers under sound names. Measured at a tenth of looking at each in turn.
        if _NUMBERS.issuperset(map(type, metrics.values())) and (_KNOWN.issuperset(metrics) or _sound(metrics)):
            self._rows += len(metrics)
            self._block(event).add_rows(event, metrics, metrics.values())  # type: ignore[arg-type]  # just checked
        else:
            self._add_one_by_one(event)

    def _refuse(self, record: Record, reason: str, message: str) -> None:
        self.failed.append(FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, reason, message)))

    def _add_one_by_one(self, event: Event) -> None:
        names: list[str] = []
        values: list[float] = []
        for name, value in event.metrics.items():
            if isinstance(value, Unrepresentable):
                self._fail(
                    event, name, value, "UnrepresentableNumber", f"{_shown(value.literal)} does not fit a Float64"
                )
            elif not isinstance(value, int | float):
                self.skipped[json_type(value)] += 1
            elif not _sound((name,)):
                self._fail(event, name, value, "InvalidName", _NAME_RULE)
            else:
                names.append(name)
                values.append(value)
        if names:
            self._rows += len(names)
            self._block(event).add_rows(event, names, values)

    def _fail(self, event: Event, name: str, value: float | Unrepresentable, error_type: str, message: str) -> None:
        failure = Failure(ErrorClass.INVALID_METRIC, error_type, message)
        self.failed.append(FailedMetric(event, name, value, failure, attempts=0))

    def _block(self, event: Event) -> Block:
        month = _month(event.completed_at)
        block = self.blocks.get(month)
        if block is None:
            block = self.blocks[month] = Block(month)
        return block


_NAME_RULE = f"the name of a metric has 1 to {MAX_NAME_LENGTH} characters that can be written as UTF-8"


_KNOWN: set[str] = set()
"""Names that were found sound before: producers send the same ones again and again, and to look here costs a tenth of
looking at their characters."""
_MAX_KNOWN = 10_000


def _sound(names: Collection[str]) -> bool:
    joined = "".join(names)
    sound = (
        min(map(len, names)) >= 1
        and max(map(len, names)) <= MAX_NAME_LENGTH
        and (joined.isascii() or is_encodable(joined))
    )
    if sound and len(_KNOWN) < _MAX_KNOWN:
        _KNOWN.update(names)
    return sound


def _shown(literal: str) -> str:
    return literal if len(literal) <= 40 else f"{literal[:40]}…"


def _month(milliseconds: int) -> int:
    """`YYYYMM` of an instant in UTC, as ClickHouse's `toYYYYMM` gives it."""
    day = milliseconds // _DAY
    month = _MONTHS.get(day)
    if month is None:
        month = _MONTHS[day] = _civil_month(day)
    return month


_MONTHS: dict[int, int] = {}
"""Months by day since 1970. It cannot grow beyond the days that DateTime64 has, 146,097."""


def _civil_month(day: int) -> int:
    civil = date(1970, 1, 1) + timedelta(days=day)
    return civil.year * 100 + civil.month
