"""When the worker has ended: read everything back, page by page, and compare it record by record."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.fuzz.comparison import Row, compare
from tests.fuzz.dead_letters import DeadLetterPages, dead_letters
from tests.fuzz.expected import expect_result
from tests.fuzz.generate import make_record
from tests.fuzz.sent_records import RecordPosition, SentRecords
from tests.support.topic import committed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clickhouse_driver import Client

    from deploy.local.stack import Stack
    from tests.fuzz.report import FuzzReport

PAGE = 20_000
"""Offsets that are compared at a time."""
TABLE = "execution_metrics"
_DAY = 86_400_000
_ROWS = f"""
SELECT source_offset, metric_type, metric_value, toString(execution_id), agent_name, user_id,
       toUnixTimestamp64Milli(completed_at), toUnixTimestamp64Milli(recorded_at)
FROM {TABLE}
WHERE source_partition = %(partition)s AND source_offset >= %(start)s AND source_offset < %(stop)s
"""  # noqa: S608 - the name is a constant
_LATEST = f"""
SELECT metric_type, agent_name, toInt32(toDate32(completed_at)), toString(execution_id),
       max(toUnixTimestamp64Milli(recorded_at))
FROM {TABLE}
WHERE execution_id IN %(executions)s
GROUP BY 1, 2, 3, 4
"""  # noqa: S608
_ALL = f"SELECT count() FROM {TABLE}"  # noqa: S608


async def audit(
    stack: Stack, group: str, sent: SentRecords, directory: Path, report: FuzzReport, on_progress: Callable[[int], None]
) -> None:
    """Compare dead letters, rows, skipped metrics and committed offsets with the expected ones.

    The worker has ended; `report` has what it has counted, and takes down what is found.
    """
    servers = stack.broker.bootstrap_servers
    await _compare_commits(servers, stack.topic, group, sent, report)
    with DeadLetterPages(directory, PAGE) as pages, stack.engine.client(stack.database) as client:
        client.execute(f"SYSTEM STOP MERGES {TABLE}")  # else rows could be replaced between two looks
        classes: Counter[str] = Counter()
        async for letter in dead_letters(servers, stack.dlq_topic):
            classes[letter.error_class] += 1
            pages.add(letter)
        report.dead_letters = dict(classes.most_common())
        auditor = _Auditor(report, sent, pages, client)
        for partition, offsets in sent.pages(PAGE):
            auditor.compare_page(partition, offsets)
            on_progress(report.events + report.tombstones + report.no_events)
        auditor.compare_totals()


async def _compare_commits(servers: str, topic: str, group: str, sent: SentRecords, report: FuzzReport) -> None:
    ends = sent.ends
    offsets = await committed(servers, topic, group, len(ends))
    for partition, end in ends.items():
        if offsets[partition] != end:
            report.add_problem(f"partition {partition} is committed up to {offsets[partition]}, its end is {end}")


class _Auditor:
    def __init__(self, report: FuzzReport, sent: SentRecords, pages: DeadLetterPages, client: Client) -> None:
        self._outcome = report
        self._ledger = sent
        self._pages = pages
        self._client = client
        self._skipped: Counter[str] = Counter()
        self._rows_read = 0

    def compare_page(self, partition: int, offsets: range) -> None:
        rows = self._rows(partition, offsets)
        letters = self._pages.read(partition, offsets)
        absent: list[tuple[Row, int]] = []
        for offset in offsets:
            position = RecordPosition(partition, offset)
            number = self._ledger.number(position)
            if number is None:
                self._outcome.add_problem(f"nothing of ours was acknowledged at {position}")
                continue
            expected = expect_result(make_record(self._outcome.seed, number), position)
            verdict = compare(expected, rows.pop(offset, ()), letters.pop(offset, ()))
            for problem in verdict.problems:
                self._outcome.add_problem(f"{expected.record.name} at {partition}/{offset}: {problem}", number)
            absent += ((row, number) for row in verdict.absent)
            if expected.reading is None:
                self._outcome.tombstones += 1
            elif expected.reading.owner is None:
                self._outcome.no_events += 1
            else:
                self._outcome.events += 1
                self._outcome.rows += len(expected.reading.rows) - len(verdict.absent)
                self._skipped += expected.reading.skipped
        self._miss(absent)
        for offset in (*rows, *letters):
            self._outcome.add_problem(f"rows or dead letters of {partition}/{offset}, where there is no record")

    def compare_totals(self) -> None:
        for partition, page in self._pages.unread():
            self._outcome.add_problem(
                f"dead letters of offsets {page * PAGE} and after of partition {partition}: no record"
            )
        ((there,),) = self._client.execute(_ALL)
        if there != self._rows_read:
            self._outcome.add_problem(f"{there} rows in the table, {self._rows_read} of them of records that were sent")
        read_counts = self._outcome.skipped
        for json_type in sorted(self._skipped.keys() | read_counts.keys()):
            right, found = self._skipped[json_type], read_counts.get(json_type, 0)
            if right != found:
                self._outcome.add_problem(f"{found} metrics of type {json_type} counted as skipped; {right} were owed")

    def _rows(self, partition: int, offsets: range) -> dict[int, list[Row]]:
        where = {"partition": partition, "start": offsets.start, "stop": offsets.stop}
        rows: dict[int, list[Row]] = {}
        for offset, *row in self._client.execute(_ROWS, where):
            rows.setdefault(offset, []).append(Row(*row))
            self._rows_read += 1
        return rows

    def _miss(self, absent: list[tuple[Row, int]]) -> None:
        """A row is lost unless the row of a younger event of the same execution stands in its place."""
        if not absent:
            return
        executions = sorted({row.execution_id for row, _ in absent})
        found = self._client.execute(_LATEST, {"executions": executions})
        latest = {(metric, agent, day, execution): at for metric, agent, day, execution, at in found}
        for row, number in absent:
            key = row.metric, row.agent, row.completed_at // _DAY, row.execution_id
            if latest.get(key, -1) >= row.recorded_at:
                self._outcome.replaced += 1
            else:
                self._outcome.add_problem(f"no row {row}"[:500], number)
