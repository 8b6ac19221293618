"""An audit finds each metric in the view or among the dead letters, or reports it."""

from __future__ import annotations

import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.events import JANUARY_2026, Record, encoded, event, read
from tests.unit.dead_letters.builders import WORKER, parse
from worker.audit.audit import Audit, TimeRange
from worker.audit.dead_letter_index import DeadLetterIndex, IndexedLetter
from worker.core.errors import DependencyError, ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, UnreadableRecord
from worker.core.model import Record as AnyRecord
from worker.core.times import DAY
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.ports import RowKey, ViewRow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence

    from worker.audit.findings import AuditCounts, AuditFinding

DOCUMENT = event(metrics={"cost_usd": 1.5}, labels={"release": "1.4"})
SOURCE = Record(encoded(DOCUMENT))
EVENT = read(DOCUMENT)
OWN_ROW = ViewRow(
    *("cost_usd", EVENT.agent_name, EVENT.execution_id, 1.5, EVENT.user_id, EVENT.completed_at, EVENT.version),
    *(SOURCE.topic, SOURCE.partition, SOURCE.offset, {"release": "1.4"}),
)
ALL_TIMES = TimeRange()
A_MILLISECOND = 1 << 64
"""In a version."""
FAILURE = Failure(ErrorClass.ROW_REFUSED, "E", "message")


class MemoryTopic:
    def __init__(self, records: Sequence[AnyRecord]) -> None:
        self._records = records

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[AnyRecord], None]:
        yield [record for record in self._records if record.partition == partition and record.offset in offsets]


class MemoryView:
    def __init__(self, rows: Sequence[ViewRow]) -> None:
        self._rows = rows

    def read_rows(self, keys: Collection[RowKey], on_row: Callable[[RowKey, ViewRow], None]) -> None:
        for row in self._rows:
            key = RowKey(row.completed_at // DAY, row.metric, row.agent_name, row.execution_id)
            if key in keys:
                on_row(key, row)


async def run_audit(
    *records: AnyRecord,
    rows: Sequence[ViewRow] = (),
    failed: Sequence[Failed] = (),
    time_range: TimeRange = ALL_TIMES,
    as_pointer: bool = False,
) -> tuple[list[AuditFinding], AuditCounts]:
    """Audit the first ten offsets of a partition."""
    ranges = {0: range(10)}
    index = DeadLetterIndex(SOURCE.topic, ranges)
    encode = encode_pointer if as_pointer else encode_dead_letter
    for item in failed:
        index.add(parse(encode(item, WORKER, 0)))
    findings: list[AuditFinding] = []
    audit = Audit(MemoryTopic(records).read, MemoryView(rows), index, findings.append, lambda _: None)
    counts = await audit.run(ranges, time_range)
    index.close()
    return findings, counts


@pytest.mark.parametrize(
    ("row", "counted"),
    [
        (OWN_ROW, "in_view"),
        (OWN_ROW._replace(version=OWN_ROW.version + A_MILLISECOND, value=9.0), "superseded"),
        (OWN_ROW._replace(version=OWN_ROW.version + 1, offset=1, value=9.0), "superseded"),
        (OWN_ROW._replace(partition=1, value=9.0), "superseded"),
    ],
    ids=["own row", "newer event", "later event of the same millisecond", "same time and offset in another partition"],
)
async def test_metric_with_its_own_or_a_newer_row_is_found(row: ViewRow, counted: str) -> None:
    findings, counts = await run_audit(SOURCE, rows=[row])
    assert (findings, getattr(counts, counted), counts.all_found) == ([], 1, True)


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"value": 2.5}, "metric_value is 2.5, expected 1.5"),
        ({"user_id": None}, f"user_id is None, expected {EVENT.user_id!r}"),
        ({"completed_at": EVENT.completed_at + 1}, "completed_at is "),
        ({"labels": {"release": "1.5"}}, "labels is {'release': '1.5'}, expected {'release': '1.4'}"),
        ({"labels": {}}, "labels is {}, expected {'release': '1.4'}"),
    ],
)
async def test_row_with_another_value_is_different(change: dict[str, Any], detail: str) -> None:
    (finding,), counts = await run_audit(SOURCE, rows=[OWN_ROW._replace(**change)])
    assert (finding.kind, finding.metric, counts.different) == ("different", "cost_usd", 1)
    assert finding.detail.startswith(detail)


async def test_metric_with_an_older_row_or_none_is_missing() -> None:
    (finding,), counts = await run_audit(SOURCE)
    assert (finding.kind, finding.execution_id, counts.missing) == ("missing", EVENT.execution_id, 1)
    older = OWN_ROW._replace(version=OWN_ROW.version - A_MILLISECOND)
    (finding,), _ = await run_audit(SOURCE, rows=[older])
    assert "the view has an older one, of execution-completed/0/0" in finding.detail


async def test_metric_with_a_row_of_an_earlier_record_of_the_same_millisecond_is_missing() -> None:
    correction = SOURCE._replace(offset=1)
    (finding,), counts = await run_audit(correction, rows=[OWN_ROW])
    assert (finding.kind, finding.offset, counts.missing) == ("missing", 1, 1)


@pytest.mark.parametrize("as_pointer", [False, True])
@pytest.mark.parametrize("name", ["cost_usd", "n" * 256, "ä" * 256])
async def test_dead_letter_is_found_by_a_metric_name_of_any_length(name: str, as_pointer: bool) -> None:
    source = Record(encoded(event(metrics={name: 1})))
    failed = FailedMetric(read(event(metrics={name: 1}))._replace(record=source), name, 1.0, FAILURE, 1)
    findings, counts = await run_audit(source, failed=[failed], as_pointer=as_pointer)
    assert (findings, counts.dead_lettered) == ([], 1)


INVALID = Record(b"no event")
NAN = Record(encoded(event(metrics={"bad": float("nan")})), offset=1)
OF_OTHER_RECORDS = [FailedEvent(SOURCE._replace(offset=1), FAILURE), FailedEvent(SOURCE._replace(topic="t"), FAILURE)]


def failed_metric(source: Record, metric: str) -> FailedMetric:
    return FailedMetric(EVENT._replace(record=source), metric, 1.0, FAILURE, 1)


@pytest.mark.parametrize(
    ("records", "failed", "missing"),
    [
        ([INVALID, NAN], [], [(0, None), (1, "bad")]),
        ([INVALID, NAN], [FailedEvent(INVALID, FAILURE), failed_metric(NAN, "bad")], []),
        ([SOURCE], [FailedEvent(SOURCE, FAILURE)], []),
        ([SOURCE], [failed_metric(SOURCE, "ms"), *OF_OTHER_RECORDS], [(0, "cost_usd")]),
    ],
    ids=["none", "of each", "of the whole event", "of others"],
)
async def test_metric_or_event_without_a_dead_letter_of_its_own_is_missing(
    records: list[Record], failed: list[Failed], missing: list[tuple[int, str | None]]
) -> None:
    findings, counts = await run_audit(*records, failed=failed)
    assert [(finding.offset, finding.metric) for finding in findings] == missing
    assert (counts.missing, counts.dead_lettered) == (len(missing), len(records) - len(missing))


async def test_sums_count_tombstones_skipped_metrics_and_offsets_without_a_record() -> None:
    texts = Record(encoded(event(metrics={"a": "x", "b": None, "c": "y"})), offset=2)
    findings, counts = await run_audit(SOURCE, Record(None, offset=1), texts, rows=[OWN_ROW])
    assert findings == []
    assert (counts.records, counts.events, counts.tombstones, counts.gone) == (3, 2, 1, 7)
    assert counts.skipped == {"string": 2, "null": 1}


async def test_large_batches_are_audited_in_chunks_without_loss() -> None:
    records = [
        *(Record(encoded(event(metrics={})), partition=0, offset=0) for _ in range(2_500)),
        *(Record(b" " * 60_000, offset=1) for _ in range(3)),
    ]
    _, counts = await run_audit(*records)
    assert (counts.records, counts.missing) == (2_503, 3)


async def test_time_range_limits_records_but_not_unparseable_ones() -> None:
    records = [SOURCE._replace(timestamp=JANUARY_2026 + offset, offset=offset) for offset in range(3)]
    unreadable = UnreadableRecord(SOURCE.topic, 0, 3)
    _, counts = await run_audit(*records, unreadable, time_range=TimeRange(JANUARY_2026 + 1, JANUARY_2026 + 2))
    assert counts.records == 2


async def test_unreadable_record_batch_is_no_gap() -> None:
    _, counts = await run_audit(UnreadableRecord(SOURCE.topic, 0, 9, first_offset=0), SOURCE._replace(offset=10))
    assert (counts.gone, counts.missing) == (0, 1)


@contextmanager
def no_room_for_files() -> Iterator[None]:
    """No file of this process can grow, as where no folder can be written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_reason_is_that_of_a_discarded_dead_letter_unless_another_one_is_open() -> None:
    index = DeadLetterIndex(SOURCE.topic, {0: range(10)})
    gone, back, other = (parse(encode_pointer(failed_metric(SOURCE, name), WORKER, 0)) for name in "gbo")
    partition, offset = gone.source[1:]
    index.add(gone, discarded="a typo")
    index.add(back, discarded="a typo")
    index.add(back)
    index.add(back, discarded="again")
    index.add(other)
    found = [index.find(partition, offset, name) for name in ("g", "b", "o", "x", None)]
    assert [each and each.discarded for each in found] == ["a typo", None, None, None, None]
    assert [each is None for each in found] == [False, False, False, True, True]
    index.close()


def test_dead_letter_is_edited_unless_another_one_is_open_or_discarded() -> None:
    index = DeadLetterIndex(SOURCE.topic, {0: range(10)})
    edited, again, given_up = (parse(encode_pointer(failed_metric(SOURCE, name), WORKER, 0)) for name in "eag")
    for letter in (edited, again, given_up):
        index.add(letter, is_edited=True)
    index.add(again)
    index.add(again, is_edited=True)
    index.add(given_up, discarded="a typo")
    index.add(given_up, is_edited=True)
    found = [index.find(*edited.source[1:], name) for name in "eag"]
    assert found == [
        IndexedLetter(None, is_edited=True),
        IndexedLetter(None, is_edited=False),
        IndexedLetter("a typo", is_edited=False),
    ]
    index.close()


def test_dead_letter_whose_metric_was_renamed_is_found_by_the_name_that_its_record_has() -> None:
    index = DeadLetterIndex(SOURCE.topic, {0: range(10)})
    renamed = parse(encode_pointer(failed_metric(SOURCE, "new"), WORKER, 0))._replace(replaced_metric="old")
    index.add(renamed, is_edited=True)
    at = renamed.source[1:]
    assert index.find(*at, "old") == index.find(*at, "new") == IndexedLetter(None, is_edited=True)
    index.add(renamed)
    assert index.find(*at, "old") == IndexedLetter(None, is_edited=False)
    index.close()


def test_dead_letters_that_can_be_neither_in_memory_nor_in_a_file_are_an_error_that_names_the_folder() -> None:
    index = DeadLetterIndex(SOURCE.topic, {0: range(10)})
    letter = parse(encode_pointer(failed_metric(SOURCE, "m"), WORKER, 0))

    def visit_30_megabytes() -> None:
        for number in range(300):
            index.add(letter._replace(metric=f"{number:0100000}"))

    with no_room_for_files(), pytest.raises(DependencyError, match="TMPDIR"):
        visit_30_megabytes()
    index.close()
