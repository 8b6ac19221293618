"""An audit, top to bottom.

1. The caller fixes the offsets, and then indexes the dead letters: the index is at least as new as the range.
2. The audit reads the records of the range again, a chunk at a time, and fans them out by the worker's own code.
3. For each chunk it reads the rows of these executions from the view; each expected row must exist, or a newer one.
4. What is not in the view must have a dead letter.

In this order a concurrent replay causes no false finding: a dead letter that it settles meanwhile is in the index.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from typing import NamedTuple

from worker.audit.dead_letter_index import DeadLetterIndex
from worker.audit.findings import AuditCounts, AuditFinding, FindingKind
from worker.core.model import Failed, FailedMetric, Record, Row, UnreadableRecord
from worker.core.times import DAY, EPOCH
from worker.events.decode import DEFAULT_MAX_AGE_DAYS
from worker.events.fan_out import FanOut
from worker.ports import DeduplicatedRows, ViewRow

_CHUNK_RECORDS, _CHUNK_BYTES = 2_000, 100_000
"""Limits of a chunk; a single record may exceed the bytes. They limit the rows to 20,000, because the shortest metric
is `"":1,`."""


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


_Key = tuple[str, str, int, str]


class Audit:
    """Reconciles a range of records.

    Args:
        read: reads some offsets of a partition, as `worker.ports.TopicReader.read`.
        dead_letters: the dead letters of the range that are open or discarded.
        max_age_days: of events, see `worker.events.decode.decode`.
        on_progress: called with the number of records that are done.
    """

    def __init__(
        self,
        read: Callable[[int, range], AsyncGenerator[Sequence[Record], None]],
        view: DeduplicatedRows,
        dead_letters: DeadLetterIndex,
        on_finding: Callable[[AuditFinding], object],
        on_progress: Callable[[int], object],
        max_age_days: int = DEFAULT_MAX_AGE_DAYS,
    ) -> None:
        self._read = read
        self._view = view
        self._dead_letters = dead_letters
        self._on_finding = on_finding
        self._on_progress = on_progress
        self._max_age_days = max_age_days
        self._counts = AuditCounts()

    async def run(self, ranges: Mapping[int, range], time_range: TimeRange) -> AuditCounts:
        """Audit the offsets of each partition. Raises DependencyError if Kafka or ClickHouse cannot be read."""
        for partition, offsets in sorted(ranges.items()):
            existing = 0
            async with aclosing(self._read(partition, offsets)) as batches:
                async for records in batches:
                    existing += sum(record.records if isinstance(record, UnreadableRecord) else 1 for record in records)
                    for chunk in _split_chunks([record for record in records if time_range.contains(record)]):
                        await self._audit_chunk(chunk)
            self._counts.gone += len(offsets) - existing
        return self._counts

    async def _audit_chunk(self, records: Sequence[Record]) -> None:
        fan_out = FanOut(self._max_age_days)
        for record in records:
            fan_out.add_record(record)
        expected: dict[_Key, list[Row]] = defaultdict(list)
        for block in fan_out.blocks.values():
            for row in block.rows():
                expected[_key(row)].append(row)
        view_rows = await self._read_view(expected)
        for key, rows in expected.items():
            for row in rows:
                self._check_row(row, view_rows.get(key))
        for failed in fan_out.failed:
            self._check_failed(failed)
        counts = self._counts
        counts.records += len(records)
        counts.events += fan_out.events
        counts.tombstones += fan_out.tombstones
        counts.skipped += fan_out.skipped
        self._on_progress(counts.records)

    async def _read_view(self, keys: Collection[_Key]) -> dict[_Key, ViewRow]:
        """The rows of the view under `keys`."""
        rows: dict[_Key, ViewRow] = {}
        if not keys:
            return rows

        def collect(row: ViewRow) -> None:
            key = (row.metric, row.agent_name, row.completed_at // DAY, row.execution_id)
            if key in keys:
                rows[key] = row

        days = [day for _, _, day, _ in keys]
        first, last = (EPOCH.date() + timedelta(days=day) for day in (min(days), max(days)))
        await asyncio.to_thread(self._view.read_rows, {execution for *_, execution in keys}, first, last, collect)
        return rows

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
        elif letter.discarded is None:
            self._counts.dead_lettered += 1
        else:
            self._counts.discarded[letter.discarded] += 1

    def _report(
        self, kind: FindingKind, record: Record, execution_id: str | None, metric: str | None, detail: str
    ) -> None:
        self._on_finding(AuditFinding(kind, record.partition, record.offset, execution_id, metric, detail))


def _split_chunks(records: Sequence[Record]) -> list[list[Record]]:
    """Split `records` into chunks whose rows fit in memory."""
    chunks: list[list[Record]] = []
    size = 0
    for record in records:
        record_size = max(len(record.value or b""), 1)
        if not chunks or len(chunks[-1]) >= _CHUNK_RECORDS or size + record_size > _CHUNK_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(record)
        size += record_size
    return chunks


def _key(row: Row) -> _Key:
    """The sort key of the table: rows with one key are one row of the view."""
    event = row.event
    return row.metric, event.agent_name, event.completed_at // DAY, event.execution_id


def _difference(row: Row, view_row: ViewRow) -> str | None:
    event = row.event
    for name, expected, found in (
        ("metric_value", float(row.value), view_row.value),
        ("user_id", event.user_id, view_row.user_id),
        ("completed_at", event.completed_at, view_row.completed_at),
    ):
        if expected != found:
            return f"{name} is {found!a:.200}, expected {expected!a:.200}"
    return None


def _source(record: Record | ViewRow) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"
