"""What the measurement counts; how long it takes is not tested."""

from itertools import count
from uuid import UUID

import pytest

from tests.support.events import Record, encoded, event, record
from worker.clickhouse.encoding import encode_columns
from worker.core.model import size_of
from worker.events.decode import EventPolicy
from worker.events.fan_out import FanOut
from worker.planning.measurement import measure

ANY_AGE = EventPolicy(max_age_days=0)


def number(one: int, **fields: object) -> Record:
    return record(event(execution_id=str(UUID(int=one)), **fields), offset=one)


def test_every_kind_of_record_and_metric_is_counted_once() -> None:
    records = [
        number(1),
        number(2, metrics={"a": 1, "b": True, "model": "m", "n": None, "bad": float("nan")}, labels={"x": 1}),
        record(b"no event", offset=3),
        record(None, offset=4),
    ]
    counts = measure(records, ANY_AGE, seconds=0).counts
    assert (counts.records, counts.events, counts.rows) == (4, 2, 4)
    assert counts.skipped == {"string": 1, "null": 1}
    assert counts.skipped_labels == {"not_a_string": 1}
    assert counts.failed == {"UnrepresentableNumber": 1, "InvalidJSON": 1}
    assert counts.record_bytes == sum(map(size_of, records))
    assert (counts.portions, counts.inserts, counts.parts) == (1, 1, 1)


def test_rare_months_share_an_insert_and_are_parts_each() -> None:
    months = [number(one, completed_at=f"2026-0{one}-01T00:00:00Z") for one in (1, 2, 3)]
    counts = measure(months, ANY_AGE, seconds=0).counts
    assert (counts.inserts, counts.parts) == (1, 3)


def test_sample_of_many_rows_is_written_in_portions() -> None:
    metrics = {f"m{one}": one for one in range(1_000)}
    counts = measure([number(one, metrics=metrics) for one in range(200)], ANY_AGE, seconds=0).counts
    assert (counts.rows, counts.portions, counts.inserts) == (200_000, 2, 2)


def test_encoded_bytes_are_those_of_the_columns() -> None:
    records = [number(1), number(2)]
    fan_out = FanOut(ANY_AGE)
    for one in records:
        fan_out.add_record(one)
    (block,) = fan_out.blocks.values()
    assert measure(records, ANY_AGE, seconds=0).counts.encoded_bytes == sum(map(len, encode_columns(block)))


def test_cpu_is_the_median_of_the_passes_after_the_first() -> None:
    ticks = iter([0.0, 1.0, 1.0, 4.0, 4.0, 6.0])  # passes of 1, 3 and 2 s
    measured = measure([number(1), number(2)], ANY_AGE, 2.5, clock=count(0.0, 2.0).__next__, cpu_clock=ticks.__next__)
    # The first pass is not timed; two are made whatever the time, and one begins after 2 s.
    assert measured.passes == 4
    assert measured.cpu_microseconds == pytest.approx(1_000_000)


def test_sample_without_a_row_has_no_inserts() -> None:
    counts = measure([Record(encoded(event(metrics={"model": "m"})))], ANY_AGE, seconds=0).counts
    assert (counts.rows, counts.inserts, counts.parts, counts.encoded_bytes) == (0, 0, 0, 0)
