"""After the worker has ended: read rows and dead letters page by page, and compare them record by record."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from deploy.local.demo.expectations import RecordPosition
from deploy.local.demo.topic import read_committed_offsets, read_records
from tests.fuzz.comparison import Row, compare, expect_result
from tests.fuzz.dead_letters import DeadLetterPages, parse_dead_letter
from tests.fuzz.generate import make_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clickhouse_driver import Client

    from deploy.local.demo.reference import Reading
    from deploy.local.stack import Stack
    from tests.fuzz.report import FuzzReport
    from tests.fuzz.sent_records import SentRecords

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
_COUNT = f"SELECT count() FROM {TABLE}"  # noqa: S608


async def verify_results(
    stack: Stack, group: str, sent: SentRecords, directory: Path, report: FuzzReport, on_progress: Callable[[int], None]
) -> None:
    """Compare dead letters, rows, skipped metrics and committed offsets with the expected ones.

    The worker has ended. `report` has the worker's counters, and receives the differences; `on_progress` is called with
    the number of records compared so far.
    """
    servers = stack.broker.bootstrap_servers
    committed = await read_committed_offsets(servers, stack.topic, group)
    for partition, end in sent.ends.items():
        if committed[partition] != end:
            report.add_problem(f"partition {partition} is committed up to {committed[partition]}, its end is {end}")
    with DeadLetterPages(directory, PAGE) as pages, stack.engine.client(stack.database) as client:
        client.execute(f"SYSTEM STOP MERGES {TABLE}")  # a merge could replace rows between two queries
        classes: Counter[str] = Counter()
        async for record in read_records(servers, stack.dlq_topic):
            letter = parse_dead_letter(record.key, record.value or b"", tuple(record.headers))
            classes[letter.error_class] += 1
            pages.add(letter)
        report.dead_letters = dict(classes.most_common())
        verifier = _Verifier(report, sent, pages, client)
        for partition, offsets in sent.pages(PAGE):
            verifier.compare_page(partition, offsets)
            on_progress(report.events + report.tombstones + report.no_events)
        verifier.compare_totals()


class _Verifier:
    def __init__(self, report: FuzzReport, sent: SentRecords, pages: DeadLetterPages, client: Client) -> None:
        self._report = report
        self._sent = sent
        self._pages = pages
        self._client = client
        self._skipped: Counter[str] = Counter()
        self._rows_read = 0

    def compare_page(self, partition: int, offsets: range) -> None:
        rows = self._read_rows(partition, offsets)
        letters = self._pages.read(partition, offsets)
        missing_rows: list[tuple[Row, int]] = []
        for offset in offsets:
            position = RecordPosition(partition, offset)
            number = self._sent.number(position)
            if number is None:
                self._report.add_problem(f"no record was sent to {position}")
                continue
            expected = expect_result(make_record(self._report.seed, number), position)
            problems, missing = compare(expected, rows.pop(offset, ()), letters.pop(offset, ()))
            for problem in problems:
                self._report.add_problem(f"{expected.record.name} at {partition}/{offset}: {problem}", number)
            missing_rows += ((row, number) for row in missing)
            self._count(expected.reading, len(missing))
        self._check_replaced(missing_rows)
        for offset in (*rows, *letters):
            self._report.add_problem(f"rows or dead letters of {partition}/{offset}, where there is no record")

    def _count(self, reading: Reading | None, missing: int) -> None:
        if reading is None:
            self._report.tombstones += 1
        elif reading.owner is None:
            self._report.no_events += 1
        else:
            self._report.events += 1
            self._report.rows += len(reading.rows) - missing
            self._skipped += reading.skipped

    def compare_totals(self) -> None:
        for partition, page in self._pages.unread():
            self._report.add_problem(f"dead letters from offset {page * PAGE} of partition {partition}: no record")
        ((count,),) = self._client.execute(_COUNT)
        if count != self._rows_read:
            self._report.add_problem(f"{count} rows in the table, {self._rows_read} of them of records that were sent")
        counted = self._report.skipped
        for json_type in sorted(self._skipped.keys() | counted.keys()):
            right, found = self._skipped[json_type], counted.get(json_type, 0)
            if right != found:
                self._report.add_problem(f"{found} metrics of type {json_type} counted as skipped; expected {right}")

    def _read_rows(self, partition: int, offsets: range) -> dict[int, list[Row]]:
        where = {"partition": partition, "start": offsets.start, "stop": offsets.stop}
        rows: dict[int, list[Row]] = {}
        for offset, *row in self._client.execute(_ROWS, where):
            rows.setdefault(offset, []).append(Row(*row))
            self._rows_read += 1
        return rows

    def _check_replaced(self, missing: list[tuple[Row, int]]) -> None:
        """A missing row is lost unless a later event of the same execution has replaced it."""
        if not missing:
            return
        executions = sorted({row.execution_id for row, _ in missing})
        found = self._client.execute(_LATEST, {"executions": executions})
        latest = {(metric, agent, day, execution): at for metric, agent, day, execution, at in found}
        for row, number in missing:
            key = row.metric, row.agent, row.completed_at // _DAY, row.execution_id
            if latest.get(key, -1) >= row.recorded_at:
                self._report.replaced += 1
            else:
                self._report.add_problem(f"no row {row}"[:500], number)
