"""From records to blocks: each number becomes a row; anything else is skipped by a documented rule, or has failed."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import chain

import structlog

from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.model import (
    Event,
    Failed,
    FailedEvent,
    FailedMetric,
    Failure,
    Labels,
    Record,
    UnrepresentableNumber,
)
from worker.core.times import DAY
from worker.events.block import Block
from worker.events.completed_at import month_of_day
from worker.events.decode import DEFAULT_POLICY, MAX_NAME_LENGTH, EventPolicy, decode
from worker.events.skip_counter import SkipCounter, count_by_json_type
from worker.events.tolerant_json import is_encodable

log = structlog.get_logger(__name__)

_NUMBERS = frozenset({int, float, bool})
_NAME_RULE = f"the name of a metric has 1 to {MAX_NAME_LENGTH} characters that can be written as UTF-8"
_VALID_NAMES: set[str] = set()
"""Cache: producers send the same names again and again, and this lookup takes a tenth of the time of the checks."""
_MAX_VALID_NAMES = 10_000
_ROW_BYTES = 75
"""Memory of a row in an INSERT, without its texts: 53 to 59 bytes encoded, and its places in the lists of a block."""
_LABEL_BYTES = 8
"""Of each label in each row, at most: the indexes of its name and its value. The texts are encoded once per block."""
_FAILED_BYTES = 500
"""Memory of a failed metric or event, with its message and what the dead letter adds while it is written."""


class FanOut:
    """The metrics of some records, each in exactly one of these.

    Args:
        policy: see `decode`.

    Attributes:
        blocks: the rows, by month of `completed_at`.
        rows: how many rows the blocks hold.
        failed: metrics and events that will be dead letters.
        skipped_metrics, skipped_labels: how often each name was skipped, for which Python type or reason.
        tombstones: how many records had no value.
        records: how many records were added.
        events: how many records were events.
        bytes: estimated memory of the rows, when they are encoded, and of the failures.
    """

    def __init__(self, policy: EventPolicy = DEFAULT_POLICY) -> None:
        self._policy = policy
        self.blocks: dict[int, Block] = {}
        self.rows = 0
        self.failed: list[Failed] = []
        self.skipped_metrics: SkipCounter[type] = SkipCounter()
        self.skipped_labels: SkipCounter[str] = SkipCounter()
        self.tombstones = 0
        self.records = 0
        self.events = 0
        self.bytes = 0
        self._labels: list[Labels] = []
        self._label_bytes: dict[int, int] = {}

    def __len__(self) -> int:
        """Rows and failures, which is what is held in memory."""
        return self.rows + len(self.failed)

    @property
    def skipped(self) -> Counter[str]:
        """How many metrics were skipped, by JSON type."""
        return count_by_json_type(self.skipped_metrics) if self.skipped_metrics else Counter()

    def add_record(self, record: Record) -> None:
        """Decode a record and add its metrics. Never raises, whatever the bytes."""
        self.records += 1
        try:
            event = decode(record, self._policy)
        except InvalidEvent as error:
            self._fail_event(record, error.reason, str(error))
            return
        except Exception as error:
            log.exception("decode failed unexpectedly", source=f"{record.topic}/{record.partition}/{record.offset}")
            self._fail_event(record, type(error).__name__, f"the worker could not read it: {error}")
            return
        if event is None:
            self.tombstones += 1
            return
        self.events += 1
        if event.skipped_labels:
            for name, reason in event.skipped_labels:
                self.skipped_labels.add(name, reason)
            event = event._replace(skipped_labels=())  # it lives as long as its rows
        self.add_event(event)

    def add_event(self, event: Event) -> None:
        """Add the metrics of an event."""
        metrics = event.metrics
        if not metrics:
            return  # no row, hence no block either
        # The ordinary event has only numbers with valid names: a tenth of the time of checking each metric in turn.
        if _NUMBERS.issuperset(map(type, metrics.values())) and (
            _VALID_NAMES.issuperset(metrics) or self._are_valid(metrics)
        ):
            self._add_rows(event, metrics, metrics.values())  # type: ignore[arg-type]  # just checked
        else:
            self._add_one_by_one(event)

    def _fail_event(self, record: Record, error_type: str, message: str) -> None:
        self.failed.append(FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, error_type, message)))
        self.bytes += _FAILED_BYTES

    def _add_one_by_one(self, event: Event) -> None:
        names: list[str] = []
        values: list[float] = []
        skipped = self.skipped_metrics
        metrics = event.metrics
        # What is skipped can be large once parsed, and the event lives as long as its rows.
        event = event._replace(metrics={})
        for name, value in metrics.items():
            if isinstance(value, UnrepresentableNumber):
                message = f"{_shorten(value.literal)} does not fit a Float64"
                self._fail_metric(event, name, value, "UnrepresentableNumber", message)
            elif not isinstance(value, int | float):
                pair = name, type(value)
                if pair in skipped:
                    skipped[pair] += 1
                else:
                    skipped.add(*pair)
            elif not self._are_valid((name,)):
                self._fail_metric(event, name, value, "InvalidName", _NAME_RULE)
            else:
                names.append(name)
                values.append(value)
        if names:
            self._add_rows(event, names, values)

    def _add_rows(self, event: Event, names: Collection[str], values: Iterable[float]) -> None:
        self.rows += len(names)
        texts = event.execution_id + (event.user_id or "")
        size = _ROW_BYTES + (len(texts) if texts.isascii() else len(texts.encode()))
        if labels := event.labels:
            size += self._label_bytes.get(id(labels)) or self._add_labels(labels)
        self.bytes += len(names) * size
        self._block_of(event).add_rows(event, names, values)

    def _add_labels(self, labels: Labels) -> int:
        """Count the texts of labels that no earlier event shares; returns what they take in each row."""
        self._labels.append(labels)  # kept, so that no others have its id
        self.bytes += len("".join(chain.from_iterable(labels)).encode())
        size = self._label_bytes[id(labels)] = _LABEL_BYTES * len(labels)
        return size

    def _are_valid(self, names: Collection[str]) -> bool:
        """Whether all `names` are valid; they are counted, because a new name takes space in a block's dictionary."""
        self.bytes += sum(map(len, names))
        return _all_names_valid(names)

    def _fail_metric(
        self, event: Event, name: str, value: float | UnrepresentableNumber, error_type: str, message: str
    ) -> None:
        failure = Failure(ErrorClass.INVALID_METRIC, error_type, message)
        self.failed.append(FailedMetric(event, name, value, failure, attempts=0))
        self.bytes += _FAILED_BYTES

    def _block_of(self, event: Event) -> Block:
        month = month_of_day(event.completed_at // DAY)
        block = self.blocks.get(month)
        if block is None:
            block = self.blocks[month] = Block(month)
        return block


def _all_names_valid(names: Collection[str]) -> bool:
    joined = "".join(names)
    valid = (
        min(map(len, names)) >= 1
        and max(map(len, names)) <= MAX_NAME_LENGTH
        and (joined.isascii() or is_encodable(joined))
    )
    if valid:
        # Emptied when it is full: names that occur once must not keep those out that occur in every event.
        if len(_VALID_NAMES) >= _MAX_VALID_NAMES:
            _VALID_NAMES.clear()
        _VALID_NAMES.update(names)
    return valid


def _shorten(literal: str) -> str:
    return literal if len(literal) <= 40 else f"{literal[:40]}…"
