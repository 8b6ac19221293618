"""The predicted result of a line is what the worker's pipeline makes of it."""

import io
from collections import Counter, defaultdict

import pytest

from tests.fuzz.generate import ORDINARY, make_record
from tests.support.events import Record
from tests.support.worker_harness import open_worker_harness
from worker.core.line_splitter import Line
from worker.events.decode import EventPolicy
from worker.events.labels import SKIP_REASONS
from worker.validation.line_reader import read_lines
from worker.validation.validator import Validator


@pytest.mark.parametrize("size", [1, 5, 6, 7, 100_000, 200_000])
def test_reader_keeps_only_the_size_of_a_long_line(size: int) -> None:
    lines = list(read_lines(io.BytesIO(b"x" * size + b"\nabc"), 6))
    content = b"x" * size if size <= 6 else None
    assert lines == [Line(1, content, size), Line(2, b"abc", 3)]


def test_reader_skips_the_blank_lines_that_produce_skips() -> None:
    text = b'a\r\n\n \n{"x": 1}\n\xe2\x80\xa8b\x0b\n'
    sent = [line for line in text.split(b"\n") if line.strip()]
    assert [line.content for line in read_lines(io.BytesIO(text), 100)] == sent


JSON_TYPES = ("string", "null", "array", "object")
POLICIES = (EventPolicy(), EventPolicy(0, ("source", "traceparent")))


@pytest.mark.parametrize("policy", POLICIES, ids=["default", "any age, labels of CloudEvents"])
async def test_prediction_is_what_the_pipeline_makes_of_the_fuzz_corpus(policy: EventPolicy) -> None:
    """Each line is predicted alone; the pipeline processes the records together."""
    made = [make_record(7, number) for number in range(ORDINARY, ORDINARY + 3_000)]
    records = [
        Record(record.value, offset=offset, timestamp=record.timestamp, headers=tuple(record.headers))
        for offset, record in enumerate(made)
        if record.value and not record.unreadable and len(record.value) <= 1_000_000
    ]
    assert len(records) > 2_000
    async with open_worker_harness(event_policy=policy) as worker:
        await worker.pipeline.process(records)
    rows = Counter(row.source_offset for row in worker.store.acknowledged)
    failed = defaultdict(list)
    for item in worker.dead_letters.letters:
        failed[item.record.offset].append(str(item.failure))
    skipped: Counter[str] = Counter()
    for record in records:
        validator = Validator(record.timestamp, record.headers, policy)
        (result,) = validator.validate([Line(1, record.value, 0)], include_valid=True)
        name = made[record.offset].name
        assert result.rows == rows[record.offset], name
        assert [str(item.failure) for item in result.failed] == failed[record.offset], name
        assert result.is_refused is bool(failed[record.offset]), name
        skipped += Counter(result.skipped) + Counter(result.skipped_labels)
    names = {"json_type": "metrics_skipped", "reason": "labels_skipped"}
    assert skipped == Counter({
        value: worker.counted(names[label], **{label: value})
        for label, values in (("json_type", JSON_TYPES), ("reason", SKIP_REASONS))
        for value in values
    })  # fmt: skip
