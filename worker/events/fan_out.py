"""From records to blocks: each number becomes a row; anything else is skipped by a documented rule, or has failed."""

from collections import Counter
from collections.abc import Iterable
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
)
from worker.core.times import DAY
from worker.events.block import Block
from worker.events.checked_metrics import check_metrics
from worker.events.completed_at import month_of_day
from worker.events.decode import DEFAULT_POLICY, EventPolicy, decode
from worker.events.metric_shapes import (
    NAMES,
    NUMBERS,
    SHAPES,
    MetricShape,
    Names,
    SkippedMetric,
    Types,
    add_names,
    add_shape,
)
from worker.events.skip_counter import SkipCounter, count_by_json_type

log = structlog.get_logger(__name__)

_ROW_BYTES = 75
"""Memory of a row in an INSERT, without its texts: 53 to 59 bytes encoded, and its places in the lists of a block."""
_LABEL_BYTES = 8
"""Of each label in each row, at most: the indexes of its name and its value. The texts are encoded once per block."""
_MAX_UNCOUNTED = 100
"""Events whose skipped metrics are not counted yet: at most 100,000 metrics, which are 20 MB if no two are equal."""
_NO_SHAPES: dict[Types, MetricShape] = {}
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
        skipped_labels: how often each name was skipped, for which reason.
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
        self.skipped_labels: SkipCounter[str] = SkipCounter()
        self.tombstones = 0
        self.records = 0
        self.events = 0
        self.bytes = 0
        self._blocks_of_days: dict[int, Block] = {}
        self._labels: list[Labels] = []
        self._label_bytes: dict[int, int] = {}
        self._skipped_metrics: SkipCounter[type] = SkipCounter()
        self._uncounted: list[tuple[SkippedMetric, ...]] = []

    def __len__(self) -> int:
        """Rows and failures, which is what is held in memory."""
        return self.rows + len(self.failed)

    @property
    def skipped_metrics(self) -> SkipCounter[type]:
        """How often each name was skipped, for which Python type."""
        self._count_skipped()
        return self._skipped_metrics

    @property
    def skipped(self) -> Counter[str]:
        """How many metrics were skipped, by JSON type."""
        return count_by_json_type(self.skipped_metrics)

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
        """Add the metrics of an event, and remove them from it, unless all are rows.

        What is skipped can be large once parsed, and the event lives as long as its rows.
        """
        metrics = event.metrics
        if not metrics:
            return  # no row, hence no block either
        names, values = tuple(metrics), metrics.values()
        if NUMBERS.issuperset(map(type, values)):
            shared = NAMES.get(names)
            if shared is None and (new_characters := add_names(names)) is not None:
                self.bytes += new_characters  # a new name takes space in the dictionary of a block
                shared = names
            if shared is not None:
                self._add_rows(event, shared, values)  # type: ignore[arg-type]  # just checked
                return
        else:
            types = tuple(map(type, values))
            shape = SHAPES.get(names, _NO_SHAPES).get(types) or self._add_shape(names, types)
            if shape is not None:
                self._add_skipped(shape.skipped)
                if shape.names:
                    self._add_rows(event, shape.names, shape.values_of(metrics))
                metrics.clear()
                return
        self._add_checked(event)
        metrics.clear()

    def _add_shape(self, names: Names, types: Types) -> MetricShape | None:
        shape, new_characters = add_shape(names, types) or (None, 0)
        self.bytes += new_characters
        return shape

    def _add_checked(self, event: Event) -> None:
        checked = check_metrics(event.metrics)
        self.failed += [FailedMetric(event, *failed, attempts=0) for failed in checked.failed]
        self.bytes += _FAILED_BYTES * len(checked.failed) + checked.new_characters
        self._add_skipped(checked.skipped)
        if checked.names:
            self._add_rows(event, checked.names, checked.values)

    def _fail_event(self, record: Record, error_type: str, message: str) -> None:
        self.failed.append(FailedEvent(record, Failure(ErrorClass.INVALID_EVENT, error_type, message)))
        self.bytes += _FAILED_BYTES

    def _add_skipped(self, metrics: tuple[SkippedMetric, ...]) -> None:
        self._uncounted.append(metrics)
        if len(self._uncounted) >= _MAX_UNCOUNTED:
            self._count_skipped()

    def _count_skipped(self) -> None:
        """Count what the events skip: those of one shape share a tuple, which is counted once."""
        shared = dict(zip(map(id, self._uncounted), self._uncounted, strict=True))
        for key, number in Counter(map(id, self._uncounted)).items():
            for name, kind in shared[key]:
                self._skipped_metrics.add(name, kind, number)
        self._uncounted.clear()

    def _add_rows(self, event: Event, names: Names, values: Iterable[float]) -> None:
        number = len(names)
        self.rows += number
        texts = event.execution_id + (event.user_id or "")
        size = _ROW_BYTES + (len(texts) if texts.isascii() else len(texts.encode()))
        if labels := event.labels:
            size += self._label_bytes.get(id(labels)) or self._add_labels(labels)
        self.bytes += number * size
        day = event.completed_at // DAY
        block = self._blocks_of_days.get(day)
        if block is None:
            block = self._find_block(day)
        block.add_rows(event, names, values)

    def _add_labels(self, labels: Labels) -> int:
        """Count the texts of labels that no earlier event shares; returns what they take in each row."""
        self._labels.append(labels)  # kept, so that no others have its id
        self.bytes += len("".join(chain.from_iterable(labels)).encode())
        size = self._label_bytes[id(labels)] = _LABEL_BYTES * len(labels)
        return size

    def _find_block(self, day: int) -> Block:
        """The block of a day's month, which is remembered for the day."""
        month = month_of_day(day)
        if month not in self.blocks:
            self.blocks[month] = Block(month)
        block = self._blocks_of_days[day] = self.blocks[month]
        return block
