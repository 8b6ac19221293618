"""An audit, top to bottom.

1. Somebody fixes the range, and then looks through the dead letters: what they say was true when the range was fixed.
2. The records of the range are read again, a chunk at a time, and fanned out by the worker's own code.
3. Of each chunk, the view is asked for the executions; each row that is owed must be there, or a younger one.
4. What is not there must have a dead letter.

In this order a replay at the same time can do no harm: a letter that it settles meanwhile counts as one.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from datetime import date, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from worker.audit.dead_letter_index import DeadLetterIndex
from worker.audit.findings import AuditCounts, AuditFinding, ViewRow
from worker.core.model import Event, Failed, FailedMetric, Record, Row, UnreadableRecord
from worker.events.fan_out import FanOut

_RECORDS, _ROWS, _BYTES = 2_000, 20_000, 4 * 1024 * 1024
"""The limits of a chunk; whichever is reached first closes it. One record may exceed the other two by itself."""
_DAY = 86_400_000


class DeduplicatedRows(Protocol):
    """The de-duplicated view."""

    def look(self, executions: Collection[UUID], first: date, last: date, see: Callable[[ViewRow], None]) -> None:
        """Show each row of `executions` completed from the day `first` to the day `last`.

        Raises:
            DependencyError: the view cannot be read.
        """


class EventStream(Protocol):
    """The topic of events: the part of `worker.ports.DeadLetterReader` that reads."""

    def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """See `worker.ports.DeadLetterReader`."""


class TimeRange(NamedTuple):
    """Timestamps of records in milliseconds, the first included and the last not; None is without limit."""

    since: int | None = None
    until: int | None = None

    def has(self, record: Record) -> bool:
        """Whether `record` is meant; of one that the client cannot parse nobody knows, so it is."""
        if isinstance(record, UnreadableRecord):
            return True
        at = record.timestamp
        return (self.since is None or at >= self.since) and (self.until is None or at < self.until)


_Key = tuple[str, str, int, UUID]


class Audit:
    """Reconciles a range of records.

    Args:
        source: the topic of events.
        view: what analysts read.
        letters: the dead letters of the range that are not settled.
        found: hears of each finding.
        told: hears how many records have been looked at.
    """

    def __init__(
        self,
        source: EventStream,
        view: DeduplicatedRows,
        letters: DeadLetterIndex,
        found: Callable[[AuditFinding], object],
        told: Callable[[int], object],
    ) -> None:
        self._source = source
        self._view = view
        self._letters = letters
        self._found = found
        self._told = told
        self.tally = AuditCounts()

    async def run(self, ranges: Mapping[int, range], period: TimeRange) -> AuditCounts:
        """Look at all of it.

        Raises:
            DependencyError: Kafka or ClickHouse cannot be read.
        """
        for partition, offsets in sorted(ranges.items()):
            standing = 0
            async with aclosing(self._source.read(partition, offsets)) as some:
                async for records in some:
                    standing += len(records)
                    for chunk in _chunks([record for record in records if period.has(record)]):
                        await self._reconcile(chunk)
            self.tally.gone += len(offsets) - standing
        return self.tally

    async def _reconcile(self, records: Sequence[Record]) -> None:
        fanned = FanOut()
        for record in records:
            fanned.add_record(record)
        await self._rows(fanned)
        for failed in fanned.failed:
            self._failure(failed)
        self._count(fanned, len(records))

    async def _rows(self, fanned: FanOut) -> None:
        owed: dict[_Key, list[Row]] = defaultdict(list)
        for block in fanned.blocks.values():
            for row in block.rows():
                owed[_key(row)].append(row)
        if not owed:
            return
        view_rows: dict[_Key, ViewRow] = {}

        def see(row: ViewRow) -> None:
            key = (row.metric, row.agent_name, row.completed_at // _DAY, row.execution_id)
            if key in owed:
                view_rows[key] = row

        days = [day for _, _, day, _ in owed]
        executions = {execution for *_, execution in owed}
        await asyncio.to_thread(self._view.look, executions, _date(min(days)), _date(max(days)), see)
        for key, rows in owed.items():
            for row in rows:
                self._row(row, view_rows.get(key))

    def _row(self, row: Row, view_row: ViewRow | None) -> None:
        event, record = row.event, row.event.record
        if view_row is None or view_row.recorded_at < event.recorded_at:
            if self._letters.has_metric(record.partition, record.offset, row.metric):
                self.tally.dead_lettered += 1
            else:
                older = "" if view_row is None else f"; the view shows an older one, of {_source(view_row)}"
                self._report("missing", event, row.metric, f"neither in the view nor a dead letter{older}")
        elif view_row.recorded_at > event.recorded_at or _source(view_row) != _place(record):
            # Of two records of one millisecond either may stay: the table has no other order.
            self.tally.superseded += 1
        elif problem := _difference(row, view_row):
            self._report("different", event, row.metric, problem)
        else:
            self.tally.in_view += 1

    def _failure(self, failed: Failed) -> None:
        why = f"{failed.failure.error_class.value}, {failed.failure.error_type}, and no dead letter"
        if isinstance(failed, FailedMetric):
            record = failed.event.record
            if self._letters.has_metric(record.partition, record.offset, failed.metric):
                self.tally.dead_lettered += 1
            else:
                self._report("missing", failed.event, failed.metric, why)
        elif self._letters.has_event(failed.record.partition, failed.record.offset):
            self.tally.dead_lettered += 1
        else:
            self.tally.missing += 1
            self._found(AuditFinding("missing", failed.record.partition, failed.record.offset, None, None, why))

    def _report(self, kind: str, event: Event, metric: str, detail: str) -> None:
        if kind == "missing":
            self.tally.missing += 1
        else:
            self.tally.different += 1
        record = event.record
        self._found(AuditFinding(kind, record.partition, record.offset, event.execution_id, metric, detail))

    def _count(self, fanned: FanOut, records: int) -> None:
        tally = self.tally
        tally.records += records
        tally.events += fanned.events
        tally.tombstones += fanned.tombstones
        for name, count in fanned.skipped.items():
            tally.skipped[name] = tally.skipped.get(name, 0) + count
        self._told(tally.records)


def _chunks(records: Sequence[Record]) -> list[list[Record]]:
    """Cut `records` into pieces that are safe to fan out together; the bytes of JSON bound the number of its rows."""
    chunks: list[list[Record]] = []
    size = 0
    for record in records:
        # The shortest metric takes 5 bytes: `"":1,`.
        this = max(len(record.value or b""), 1)
        if not chunks or len(chunks[-1]) >= _RECORDS or size + this > _BYTES or (size + this) // 5 > _ROWS:
            chunks.append([])
            size = 0
        chunks[-1].append(record)
        size += this
    return chunks


def _key(row: Row) -> _Key:
    """The sort key of the table: rows that agree in it are one row of the view."""
    event = row.event
    return row.metric, event.agent_name, event.completed_at // _DAY, event.execution_id


def _difference(row: Row, view_row: ViewRow) -> str | None:
    event = row.event
    for name, owed, found in (
        ("metric_value", float(row.value), view_row.value),
        ("user_id", event.user_id, view_row.user_id),
        ("completed_at", event.completed_at, view_row.completed_at),
    ):
        if owed != found:
            return f"{name} is {found!a:.200}, owed was {owed!a:.200}"
    return None


def _place(record: Record) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _source(row: ViewRow) -> str:
    return f"{row.topic}/{row.partition}/{row.offset}"


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)
