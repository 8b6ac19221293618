"""Hypothesis strategies: valid and damaged events, records of any bytes, rows, failures."""

import json
import string
from typing import Any
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st

from tests.support.events import Record, encoded, event
from worker.core.errors import ErrorClass
from worker.core.model import (
    DeadLetterPosition,
    Edit,
    Event,
    FailedEvent,
    FailedMetric,
    Failure,
    ReplayedRecord,
    Row,
    UnrepresentableNumber,
)
from worker.dead_letters.settlement import Action, OffsetRun, Settlement

settings.register_profile("worker", deadline=None)  # a busy machine must not fail a test
settings.load_profile("worker")

FIELDS = ("execution_id", "agent_name", "user_id", "labels", "metrics", "completed_at", "schema_version", "status")

uuids = st.uuids().map(str)
lone_surrogates = st.characters(categories=["Cs"])
metric_names = st.one_of(
    st.sampled_from(["execution_time_ms", "cost_usd", "result_success", "größe"]), st.text(min_size=1, max_size=8)
)
invalid_names = st.one_of(
    st.sampled_from(["", "n" * 257, "\ud800"]), st.builds("{}{}".format, st.text(max_size=3), lone_surrogates)
)
integers = st.one_of(st.integers(-10, 10), st.integers(-(2**63), 2**64 - 1))
numbers = st.one_of(integers, st.floats(allow_nan=False, allow_infinity=False), st.booleans())
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)

metrics_of_any_type = st.dictionaries(
    st.one_of(st.sampled_from(["a", "b", "c"]), metric_names, invalid_names),
    st.one_of(numbers, st.text(max_size=3), json_values, st.sampled_from([float("nan"), [float("inf")]])),
    max_size=6,
)
"""Metrics that become rows, are skipped, or fail; other ones may have the same names and types."""


def mostly(usual: st.SearchStrategy[Any], unusual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """`unusual` in one of ten draws."""
    return st.integers(0, 9).flatmap(lambda number: unusual if number == 9 else usual)


_times_of_day = st.builds(
    "{:02}:{:02}:{:02}{}".format,
    mostly(st.integers(0, 23), st.integers(0, 99)),
    mostly(st.integers(0, 59), st.integers(0, 99)),
    mostly(st.integers(0, 60), st.integers(0, 99)),
    st.one_of(st.just(""), st.text(string.digits, max_size=12).map(".{}".format)),
)
_offsets = mostly(
    st.one_of(
        st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59)), st.just("")
    ),
    st.sampled_from(["Z", "z", "+01", "+0100", "-00:00", "+24:00", "+01:60", " Z", "Z\n"]),
)
times = st.builds(
    "{:04}-{:02}-{:02}{}{}{}".format,
    mostly(st.integers(1890, 2310), st.integers(0, 9999)),
    mostly(st.integers(1, 12), st.integers(0, 13)),
    mostly(st.integers(1, 31), st.integers(0, 32)),
    mostly(st.sampled_from("Tt "), st.sampled_from("_")),
    _times_of_day,
    _offsets,
)
"""Near RFC 3339; about one third is valid."""

valid_times = st.builds(
    "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}".format,
    st.integers(1901, 2298),
    st.integers(1, 12),
    st.integers(1, 28),
    st.integers(0, 23),
    st.integers(0, 59),
    st.integers(0, 60),
    st.sampled_from(["Z", "z", "", ".5", ".5Z", ".123456789+05:30", "-11:00"]),
)
epoch_times = st.one_of(
    st.integers(-2_208_900_000, 10_413_700_000),
    st.integers(100_000_000_000, 10_413_700_000_000),
    st.integers(0, 10_413_700_000_000).map(lambda milliseconds: milliseconds / 1000),
)
"""Valid numbers as `completed_at`: seconds, or milliseconds."""

label_sets = st.dictionaries(
    st.one_of(st.sampled_from(["model", "release", "n" * 64]), st.text(min_size=1, max_size=8)),
    st.one_of(st.sampled_from(["", "m-1", "ä" * 256, "\U0001f980" * 256]), st.text(max_size=8)),
    max_size=16,
)
"""Valid labels."""

_label_fields = st.one_of(label_sets, st.dictionaries(st.text(max_size=8), json_values, max_size=3), json_values)

documents = st.fixed_dictionaries(
    {
        "execution_id": st.one_of(uuids, st.text(min_size=1, max_size=8), st.sampled_from(["x" * 128, "ä" * 128])),
        "agent_name": st.one_of(st.text(min_size=1, max_size=8), st.sampled_from(["a" * 256, "ä" * 256])),
        "metrics": st.dictionaries(metric_names, st.one_of(numbers, json_values), max_size=5),
    },
    optional={
        "user_id": st.one_of(st.none(), st.text(max_size=8), integers),
        "labels": _label_fields,
        "completed_at": st.one_of(st.none(), valid_times, epoch_times),
        "schema_version": st.sampled_from([1, 1.0, "1", "1.0", "1.2.3"]),
        "started_at": json_values,
        "status": json_values,
        "event_id": json_values,
        "a field of tomorrow": json_values,
    },
)
"""Valid events."""

_NEAR_MISSES: dict[str, st.SearchStrategy[Any]] = {
    "execution_id": st.one_of(
        st.sampled_from(["", " ", "x" * 128, "x" * 129, "\U0001f980" * 128, 7, None, []]),
        uuids.map(str.upper),
        uuids.map(lambda text: text.replace("-", "")),
    ),
    "agent_name": st.sampled_from(["", "a" * 257, "ä" * 257, "\U0001f980" * 256]),
    "user_id": st.sampled_from(["", 0, -(2**63), 2**64 - 1, 2**64, 1.5, 42.0, False, []]),
    "labels": _label_fields,
    "metrics": st.sampled_from([{}, [], {str(n): n for n in range(1_000)}, {str(n): n for n in range(1_001)}]),
    "completed_at": st.one_of(times, epoch_times, st.floats(allow_nan=False, allow_infinity=False)),
    "schema_version": st.sampled_from([2, "2", "2.0", "01", "1.", "1.x", "", "v1", True, None, 1.5, 0, 10, "10"]),
    "status": json_values,
}


@st.composite
def damaged_documents(draw: st.DrawFn) -> dict[str, object]:
    """Events in which one or two fields are missing, of another type, or nearly valid."""
    document: dict[str, object] = dict(draw(documents))
    for field in draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=2)):
        if draw(st.integers(0, 3)) == 0:
            document.pop(field, None)
        else:
            document[field] = draw(st.one_of(_NEAR_MISSES[field], json_values))
    return document


metrics = st.dictionaries(
    mostly(metric_names, invalid_names),
    mostly(numbers, st.one_of(st.floats(), st.sampled_from(["", "1", None, [1], {"p50": 1}]))),
    min_size=1,
    max_size=5,
)
"""The metrics of an event of a careless producer, with NaN and Infinity."""

event_values = st.builds(
    lambda identity, agent, measured, at: encoded(
        event(execution_id=identity, agent_name=agent, metrics=measured, completed_at=at)
    ),
    uuids,
    st.sampled_from(["triage", "größe"]),
    metrics,
    st.sampled_from([None, "2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "1969-12-31T23:59:59Z"]),
)

_other_values = st.one_of(
    st.none(),
    st.binary(max_size=40),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda value, cut: value[:cut], event_values, st.integers(0, 80)),
    event_values.map(lambda value: value.replace(b"NaN", b"1e400")),
)
any_values = mostly(event_values, _other_values)
"""Values of records: events, tombstones, anything."""

_unusual_headers = st.lists(
    st.tuples(
        st.sampled_from(["ce_specversion", "content-type", "dlq.kind", "trace"]),
        st.sampled_from([None, b"", b"1.0", b"2.0", b"application/json", b"application/cloudevents+json", b"\xff"]),
    ),
    max_size=2,
).map(tuple)
any_headers = mostly(st.just(()), _unusual_headers)


@st.composite
def batches(draw: st.DrawFn) -> list[Record]:
    """Records of two partitions with different offsets."""
    values = draw(st.lists(any_values, min_size=1, max_size=5))
    return [
        Record(
            value,
            partition=offset % 2,
            offset=offset,
            timestamp=draw(st.sampled_from([-1, 0, 1_767_225_600_000, 2**62])),
            key=draw(st.sampled_from([None, b"", b"k", b"\xff"])),
            headers=draw(any_headers),
        )
        for offset, value in enumerate(values)
    ]


events = st.builds(
    Event,
    execution_id=st.sampled_from(["", "e", "ä", str(UUID(int=1))]),
    agent_name=st.sampled_from(["a", "b"]),
    user_id=st.sampled_from([None, "", "null", "u"]),
    completed_at=st.sampled_from([0, 1_767_225_600_000]),
    recorded_at=st.sampled_from([0, 1]),
    metrics=st.just({}),
    skipped_labels=st.just(()),
    labels=st.sampled_from([(), (("model", "m-1"),), (("model", "m-2"),), (("a", ""), ("model", "ü" * 9))]),
    record=st.builds(
        lambda topic, partition, offset: Record(None, topic, partition, offset),
        st.sampled_from(["t", "t2"]),
        st.integers(0, 1),
        st.integers(0, 2**62),
    ),
)


@st.composite
def row_lists(draw: st.DrawFn, max_lists: int = 1) -> list[list[Row]]:
    """Lists of rows over the same few events, so that rows often share an event, and lists are often equal."""
    pool = draw(st.lists(events, min_size=1, max_size=3, unique_by=lambda item: (item[:5], item.record, item.labels)))
    row = st.builds(Row, st.sampled_from(pool), st.sampled_from(["a", "b", "ab"]), st.one_of(_few_values, numbers))
    return [draw(st.lists(row, max_size=5)) for _ in range(max_lists)]


_few_values = st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, False])


failures = st.builds(
    Failure,
    st.sampled_from(ErrorClass),
    st.sampled_from(["InvalidName", "VIOLATED_CONSTRAINT", "ConnectionResetError"]),
    st.one_of(st.text(max_size=20), st.just("x" * 2_001)),
    st.sampled_from([None, 469, -1]),
    st.booleans(),
)
literals = st.sampled_from(["NaN", "Infinity", "-Infinity", "1e400", "-1E+400", "9" * 400, "1.50e999"])
decoded_events = st.builds(
    Event,
    st.one_of(uuids, st.text(min_size=1, max_size=128)),
    st.text(min_size=1, max_size=256),
    st.one_of(st.none(), st.text()),
    st.integers(-2_208_988_800_000, 10_413_791_999_999),
    st.integers(0, 10_413_791_999_999),
    st.just({}),
    st.builds(
        lambda offset, timestamp: Record(None, offset=offset, timestamp=timestamp),
        st.integers(0, 2**63 - 1),
        st.integers(-1, 2**62),
    ),
    label_sets.map(lambda labels: tuple(sorted(labels.items()))),
    st.just(()),
)
failed_metrics = st.builds(
    FailedMetric,
    decoded_events,
    st.one_of(metric_names, invalid_names),
    st.one_of(numbers, st.builds(UnrepresentableNumber, literals)),
    failures,
    st.integers(0, 10_000),
)
failed_events = st.builds(FailedEvent, st.binary().map(Record), failures)
settlements = st.builds(
    Settlement,
    st.sampled_from(Action),
    st.uuids().map(lambda uuid: uuid.hex),
    st.text(),
    st.integers(0, 10_413_791_999_999),
    st.one_of(st.none(), st.text(), lone_surrogates, st.just("x" * 1_001)),
    st.text(),
    st.lists(st.builds(OffsetRun, st.integers(0, 9), st.integers(9, 2**63 - 1), st.integers(1, 2**32 - 1))).map(tuple),
    st.one_of(st.none(), st.dictionaries(st.sampled_from(["written", "failed_again"]), st.integers(0, 9))),
    st.one_of(st.none(), st.text(min_size=1, max_size=100)),
)


def replayed(failed: FailedMetric, *, whole: bool = False) -> FailedMetric:
    """`failed` as after its third replay, which an operator has edited."""
    source = failed.event.record
    history = (source.topic, source.partition, source.offset, source.timestamp, source.key, None, source.headers)
    edit = Edit("operator@host", ".user_id = null", DeadLetterPosition(0, 7), "0" * 64)
    again = ReplayedRecord(
        *history, replays=3, attempts=7, replaces=DeadLetterPosition(0, 42), whole=whole, edit=edit, replaced_metric="x"
    )
    return failed._replace(event=failed.event._replace(record=again))


DEAD_LETTER_HEADERS = (
    "dlq.kind", "dlq.error.class", "dlq.error.type", "dlq.error.code", "dlq.error.message", "dlq.attempts",
    "dlq.metric", "dlq.execution_id", "dlq.isolated", "dlq.table", "dlq.source.topic", "dlq.source.partition",
    "dlq.source.offset", "dlq.source.timestamp", "dlq.failed_at", "dlq.replays", "dlq.replaces", "dlq.part_of",
    "dlq.worker", "dlq.edit.by", "dlq.edit.expression", "dlq.edit.original", "dlq.edit.original_sha256",
    "dlq.replaces_metric",
)  # fmt: skip
