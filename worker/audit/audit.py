"""An audit, top to bottom.

1. The caller fixes the offsets, and then indexes the dead letters: the index is at least as new as the range.
2. The audit reads the records of the range again, a chunk at a time, and fans them out by the worker's own code.
3. For each chunk it reads the rows with these keys from the view; each expected row must exist, or a newer one.
4. What is not in the view must have a dead letter.

In this order a concurrent replay causes no false finding: a dead letter that it settles meanwhile is in the index.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from worker.audit.chunks import is_full, split_ranges
from worker.audit.dead_letter_index import DeadLetterIndex
from worker.audit.findings import AuditCounts, AuditFinding, FindingKind
from worker.core.model import Failed, FailedMetric, Record, Row, UnreadableRecord
from worker.core.times import DAY
from worker.events.decode import DEFAULT_POLICY, EventPolicy
from worker.events.fan_out import FanOut
from worker.ports import DeduplicatedRows, RowKey, ViewRow


class TimeRange(NamedTuple):
    """Record timestamps in milliseconds, `until` excluded; None is no limit."""

    since: int | None = None
    until: int | None = None

    def contains(self, record: Record) -> bool:
        """Whether `record` is in the range; a record that the client cannot parse has no timestamp, so it always is."""
        if isinstance(record, UnreadableRecord):
            return True
        at = record.timestamp
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


class Audit:
    """Reconciles a range of records.

    Args:
        read: reads some offsets of a partition, as `worker.ports.TopicReader.read`.
        dead_letters: the dead letters of the range that are open, discarded or edited.
        event_policy: see `worker.events.decode.decode`.
        on_progress: called with the number of records that are done.
    """

    def __init__(
        self,
        read: Callable[[int, range], AsyncGenerator[Sequence[Record], None]],
        view: DeduplicatedRows,
        dead_letters: DeadLetterIndex,
        on_finding: Callable[[AuditFinding], object],
        on_progress: Callable[[int], object],
        event_policy: EventPolicy = DEFAULT_POLICY,
    ) -> None:
        self._read = read
        self._view = view
        self._dead_letters = dead_letters
        self._on_finding = on_finding
        self._on_progress = on_progress
        self._event_policy = event_policy
        self._counts = AuditCounts()

    async def run(self, ranges: Mapping[int, range], time_range: TimeRange) -> AuditCounts:
        """Audit the offsets of each partition. Raises DependencyError if Kafka or ClickHouse cannot be read."""
        for chunk in split_ranges(ranges):
            fan_out, size = FanOut(self._event_policy), 0
            for partition, offsets in chunk.items():
                async with aclosing(self._read_records(partition, offsets)) as records:
                    async for record in records:
                        if time_range.contains(record):
                            fan_out.add_record(record)
                            size += len(record.value or b"")
                        if is_full(len(fan_out), size):
                            await self._audit(fan_out)
                            fan_out, size = FanOut(self._event_policy), 0
            await self._audit(fan_out)
        return self._counts

    async def _read_records(self, partition: int, offsets: range) -> AsyncGenerator[Record, None]:
        existing = 0
        async with aclosing(self._read(partition, offsets)) as batches:
            async for records in batches:
                for record in records:
                    existing += record.records if isinstance(record, UnreadableRecord) else 1
                    yield record
        self._counts.gone += len(offsets) - existing

    async def _audit(self, fan_out: FanOut) -> None:
        expected: dict[RowKey, list[Row]] = defaultdict(list)
        for block in fan_out.blocks.values():
            for row in block.rows():
                expected[_key(row)].append(row)
        view_rows: dict[RowKey, ViewRow] = {}
        if expected:
            await asyncio.to_thread(self._view.read_rows, expected.keys(), view_rows.__setitem__)
        for key, rows in expected.items():
            for row in rows:
                self._check_row(row, view_rows.get(key))
        for failed in fan_out.failed:
            self._check_failed(failed)
        counts = self._counts
        counts.records += fan_out.records
        counts.events += fan_out.events
        counts.tombstones += fan_out.tombstones
        counts.skipped += fan_out.skipped
        self._on_progress(counts.records)

    def _check_row(self, row: Row, view_row: ViewRow | None) -> None:
        event, record = row.event, row.event.record
        if view_row is None or view_row.version < event.version:
            older = "" if view_row is None else f"; the view has an older one, of {_source(view_row)}"
            detail = f"neither in the view nor a dead letter{older}"
            self._check_dead_letter(record, event.execution_id, row.metric, detail)
        elif view_row.version > event.version or _source(view_row) != _source(record):
            # Of two records with one version, in two partitions or topics, either row may stay.
            self._counts.superseded += 1
        elif difference := _difference(row, view_row):
            letter = self._dead_letters.find(record.partition, record.offset, row.metric)
            if letter is not None and letter.is_edited:
                self._counts.edited += 1
                return
            self._counts.different += 1
            self._report("different", record, event.execution_id, row.metric, difference)
        else:
            self._counts.in_view += 1

    def _check_failed(self, failed: Failed) -> None:
        detail = f"{failed.failure.error_class.value}, {failed.failure.error_type}, and no dead letter"
        execution_id = failed.event.execution_id if isinstance(failed, FailedMetric) else None
        self._check_dead_letter(failed.record, execution_id, failed.metric, detail)

    def _check_dead_letter(self, record: Record, execution_id: str | None, metric: str | None, detail: str) -> None:
        letter = self._dead_letters.find(record.partition, record.offset, metric)
        if letter is None:
            self._counts.missing += 1
            self._report("missing", record, execution_id, metric, detail)
        elif letter.discarded is not None:
            self._counts.discarded[letter.discarded] += 1
        elif letter.is_edited:
            self._counts.edited += 1
        else:
            self._counts.dead_lettered += 1

    def _report(
        self, kind: FindingKind, record: Record, execution_id: str | None, metric: str | None, detail: str
    ) -> None:
        self._on_finding(AuditFinding(kind, record.partition, record.offset, execution_id, metric, detail))


def _key(row: Row) -> RowKey:
    event = row.event
    return RowKey(event.completed_at // DAY, row.metric, event.agent_name, event.execution_id)


def _difference(row: Row, view_row: ViewRow) -> str | None:
    event = row.event
    for name, expected, found in (
        ("metric_value", float(row.value), view_row.value),
        ("user_id", event.user_id, view_row.user_id),
        ("completed_at", event.completed_at, view_row.completed_at),
        ("labels", dict(event.labels), view_row.labels),
    ):
        if expected != found:
            return f"{name} is {found!a:.200}, expected {expected!a:.200}"
    return None


def _source(record: Record | ViewRow) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
