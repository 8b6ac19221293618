"""A dead letter is parsed as it was encoded, and no record on the topic stops the parser."""

import json
import tracemalloc
from hashlib import sha256
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import EXECUTION_ID, JANUARY_2026, Record, event, record
from tests.unit.dead_letters.builders import (
    FAILED_AT,
    INVALID,
    POSITION,
    REFUSED,
    SOURCE,
    WORKER,
    failed_metric,
    keep,
    parse,
)
from worker.core.model import Failed, FailedEvent, FailedMetric, ReplayedRecord, UnreadableRecord, UnrepresentableNumber
from worker.dead_letters.causes import find_cause
from worker.dead_letters.dead_letter import EncodedDeadLetter, ForeignRecord
from worker.dead_letters.headers import MAX_MESSAGE_LENGTH
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer, parse_dead_letter
from worker.dead_letters.value import (
    InvalidDeadLetter,
    encode_value,
    parse_agent_name,
    parse_metric_event,
    parse_pointer,
)
from worker.events.decode import decode
from worker.replay.contents import to_replayed_record

keys = st.sampled_from([None, b"", b"k", b"\xff\x00"])
source_headers = st.lists(
    st.tuples(
        st.sampled_from(["dlq.kind", "dlq.error.class", "dlq.replays", "dlq.replaces", "dlq.metric", "trace", ""]),
        st.sampled_from([None, b"", b"event", b"99", b"\xff"]),
    ),
    max_size=4,
).map(tuple)
COMMON_HEADERS = {
    "dlq.table": "default.execution_metrics",
    "dlq.source.topic": "execution-completed",
    "dlq.source.partition": "3",
    "dlq.source.offset": "42",
    "dlq.source.timestamp": str(JANUARY_2026),
    "dlq.failed_at": "2026-01-01T00:00:00.001Z",
    "dlq.replays": "0",
    "dlq.worker": "1.2.3",
}
METRIC_HEADERS = COMMON_HEADERS | {
    "dlq.kind": "metric",
    "dlq.error.class": "row_refused",
    "dlq.error.type": "VIOLATED_CONSTRAINT",
    "dlq.error.code": "469",
    "dlq.error.message": "is violated at row 1",
    "dlq.attempts": "7",
    "dlq.metric": "m",
    "dlq.execution_id": EXECUTION_ID,
}
REQUIRED_HEADERS = ("dlq.kind", "dlq.error.class", "dlq.source.offset", "dlq.failed_at", "dlq.metric")
EVENT_HEADERS = COMMON_HEADERS | {
    "dlq.kind": "event",
    "dlq.error.class": "invalid_event",
    "dlq.error.type": "InvalidJSON",
    "dlq.error.message": "the value is not JSON",
    "dlq.attempts": "0",
}


def added_headers(letter: EncodedDeadLetter, source: Record = SOURCE) -> dict[str, str]:
    assert tuple(letter.headers[: len(source.headers)]) == source.headers
    added = [(name, (value or b"").decode("utf-8")) for name, value in letter.headers[len(source.headers) :]]
    assert len(added) == len(dict(added)), "no header twice"
    return dict(added)


# Encode


@pytest.mark.parametrize(
    ("failed", "headers"), [(failed_metric(), METRIC_HEADERS), (FailedEvent(SOURCE, INVALID), EVENT_HEADERS)]
)
def test_headers_are_added_after_those_of_the_source(failed: Failed, headers: dict[str, str]) -> None:
    letter = encode_dead_letter(failed, WORKER, FAILED_AT)
    assert (letter.key, letter.timestamp) == (SOURCE.key, FAILED_AT)
    assert added_headers(letter) == headers


def test_metric_does_not_repeat_a_large_key_or_large_or_many_headers() -> None:
    for source in (
        SOURCE._replace(key=b"k" * 20_000),
        SOURCE._replace(headers=(("h", b"v" * 20_000),)),
        SOURCE._replace(headers=(("", b""),) * 101),
    ):
        metric, whole = (
            encode_dead_letter(failed, WORKER, FAILED_AT)
            for failed in (failed_metric(source=source), FailedEvent(source, INVALID))
        )
        assert (metric.key, next(name for name, _ in metric.headers)) == (None, "dlq.kind")
        assert parse(metric).source == (source.topic, source.partition, source.offset)
        assert (whole.key, tuple(whole.headers[: len(source.headers)])) == (source.key, source.headers)


def test_dead_letter_with_a_header_that_is_too_long_is_foreign() -> None:
    """It would be kept in the cache of shared headers."""
    letter = encode_dead_letter(failed_metric(), WORKER, FAILED_AT)
    headers = [(name, b"x" * 4_097 if name == "dlq.error.type" else value) for name, value in letter.headers]
    assert isinstance(parse_dead_letter(keep(letter._replace(headers=headers))), ForeignRecord)


def test_record_that_the_client_cannot_parse_is_identified_by_its_position() -> None:
    letter = encode_dead_letter(FailedEvent(UnreadableRecord("t", 3, 42), INVALID), WORKER, FAILED_AT)
    assert (letter.key, letter.value) == (None, b"")
    headers = dict(letter.headers)
    assert [headers[f"dlq.source.{part}"] for part in ("topic", "partition", "offset")] == [b"t", b"3", b"42"]


@pytest.mark.parametrize("name", ["", "größe", "\ud800", "a\udfffb", "n" * 10_000, 'quote"\n\0'])
def test_any_metric_name_is_kept_and_cut_only_in_the_header(name: str) -> None:
    letter = encode_dead_letter(failed_metric(metric=name), WORKER, FAILED_AT)
    assert json.loads(letter.value)["metric_type"] == name
    assert added_headers(letter)["dlq.metric"] == name[:256].encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    ("message", "header"), [("ä" * 100_000, "ä" * MAX_MESSAGE_LENGTH), ("\udc80", "\\udc80")], ids=["long", "surrogate"]
)
def test_message_is_cut_and_encoded_as_utf8(message: str, header: str) -> None:
    failed = failed_metric(failure=REFUSED._replace(message=message))
    assert added_headers(encode_dead_letter(failed, WORKER, FAILED_AT))["dlq.error.message"] == header


def test_row_refused_together_with_others_is_marked() -> None:
    failed = failed_metric(failure=REFUSED._replace(isolated=False))
    assert added_headers(encode_dead_letter(failed, WORKER, 0))["dlq.isolated"] == "false"


# Encode, then parse


@given(
    strategies.failed_metrics,
    keys,
    source_headers,
    st.one_of(strategies.numbers, strategies.literals.map(UnrepresentableNumber)),
)
@example(failed_metric(metric="\ud800"), None, (("dlq.kind", b"event"),), 2**53 + 1)
@example(failed_metric(metric=""), b"", (), -0.0)
@example(failed_metric(), b"", (), 5e-324)
@example(failed_metric(), b"", (), True)
@example(failed_metric(), b"", (), 2**64 - 1)
@example(failed_metric(), b"", (), UnrepresentableNumber("NaN"))
def test_metric_is_parsed_as_it_was_encoded(
    failed: FailedMetric,
    key: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
    value: float | UnrepresentableNumber,
) -> None:
    source = cast("Record", failed.event.record)
    source = Record(None, source.topic, source.partition, source.offset, source.timestamp, key, headers)
    failed = failed._replace(event=failed.event._replace(record=source), value=value)
    letter = parse(encode_dead_letter(failed, WORKER, FAILED_AT))
    message = failed.failure.message[:MAX_MESSAGE_LENGTH].encode("utf-8", "backslashreplace").decode()
    assert letter.failure == failed.failure._replace(message=message)
    assert (letter.kind, letter.attempts, letter.replays, letter.replaces) == ("metric", failed.attempts, 0, None)
    again = parse_metric_event(letter, to_replayed_record(letter, None))
    assert again[:5] == failed.event[:5]
    assert isinstance(again.record, ReplayedRecord)
    assert again.record[:7] == (*source[1:5], key, None, headers)
    ((name, number),) = again.metrics.items()
    assert (name, repr(number), type(number)) == (failed.metric, repr(value), type(value))


@given(st.binary(max_size=60), keys, source_headers, st.integers(-1, 2**62))
@example(b"\xff\xfe garbage", b"", (("dlq.kind", b"metric"), ("dlq.error.class", b"too_large")), -1)
def test_event_is_parsed_as_it_was_encoded(
    value: bytes, key: bytes | None, headers: tuple[tuple[str, bytes | None], ...], timestamp: int
) -> None:
    source = Record(value, partition=3, offset=42, timestamp=timestamp, key=key, headers=headers)
    letter = parse(encode_dead_letter(FailedEvent(source, INVALID), WORKER, FAILED_AT))
    assert (letter.kind, letter.metric, letter.execution_id, letter.source) == ("event", None, None, source[1:4])
    again = to_replayed_record(letter, letter.record.value)
    assert again[:7] == (source.topic, 3, 42, timestamp, key, value, headers)


@pytest.mark.parametrize(
    ("failed", "attempts"), [(failed_metric(), ["7", "8", "9"]), (FailedEvent(SOURCE, INVALID), ["0", "0", "0"])]
)
def test_dead_letter_of_a_replay_differs_only_in_its_history(failed: Failed, attempts: list[str]) -> None:
    first = encode_dead_letter(failed, WORKER, FAILED_AT)
    letter = first
    for replays in (1, 2):
        parsed = parse(letter)
        if isinstance(failed, FailedMetric):
            failed = failed._replace(event=parse_metric_event(parsed, to_replayed_record(parsed, None)), attempts=1)
        else:
            failed = FailedEvent(to_replayed_record(parsed, parsed.record.value), INVALID)
        letter = encode_dead_letter(failed, WORKER, FAILED_AT)
        history = {"dlq.replays": str(replays), "dlq.replaces": str(POSITION), "dlq.attempts": attempts[replays]}
        assert (letter.key, letter.value) == (first.key, first.value)
        assert added_headers(letter) == added_headers(first) | history


def test_metric_of_a_replayed_event_is_part_of_its_dead_letter() -> None:
    letter = parse(encode_dead_letter(FailedEvent(record(event(metrics={"m": -1})), INVALID), WORKER, 0))
    decoded = decode(to_replayed_record(letter, letter.record.value))
    assert decoded is not None
    part = parse(encode_dead_letter(FailedMetric(decoded, "m", -1, REFUSED, 3), WORKER, 0))
    assert (part.part_of, part.replaces, part.replays, part.attempts) == (POSITION, None, 1, 3)


# Pointers


def test_pointer_names_the_source_and_the_digest_of_the_value() -> None:
    letter = encode_pointer(failed_metric(), WORKER, FAILED_AT)
    full = encode_value(failed_metric())
    assert json.loads(letter.value) == {
        "source_topic": "execution-completed",
        "source_partition": 3,
        "source_offset": 42,
        "size": len(full),
        "sha256": sha256(full).hexdigest(),
    }
    assert (letter.key, letter.timestamp) == (b"k", FAILED_AT)
    message = "the dead letter does not fit the topic; it failed as row_refused: is violated at row 1"
    changed = {"dlq.error.class": "too_large", "dlq.error.message": message}
    assert added_headers(letter, Record(None)) == METRIC_HEADERS | changed


@given(st.one_of(strategies.failed_metrics, strategies.failed_events))
def test_pointer_is_parsed_as_it_was_encoded(failed: Failed) -> None:
    letter = parse(encode_pointer(failed, WORKER, 0))
    full = encode_value(failed)
    assert letter.is_pointer
    assert parse_pointer(letter) == (len(full), sha256(full).hexdigest())
    assert letter.kind == ("metric" if isinstance(failed, FailedMetric) else "event")
    assert letter.source_headers == ()
    assert parse_agent_name(letter) is None


@pytest.mark.parametrize(("key", "kept"), [(None, True), (b"", True), (b"k" * 1_024, True), (b"k" * 1_025, False)])
def test_pointer_keeps_a_key_of_at_most_1024_bytes(key: bytes | None, kept: bool) -> None:
    source = SOURCE._replace(key=key)
    assert encode_pointer(failed_metric(source=source), WORKER, FAILED_AT).key == (key if kept else None)


def test_pointer_is_small_whatever_failed() -> None:
    big = "\ud800" * 2_000_000
    source = SOURCE._replace(key=b"k" * 2_000_000, headers=(("h", b"h" * 2_000_000),))
    failed = failed_metric(UnrepresentableNumber("9" * 2_000_000), big, source, REFUSED._replace(message=big))
    letter = encode_pointer(failed, WORKER, FAILED_AT)
    size = len(letter.value) + len(letter.key or b"") + sum(len(n) + len(v or b"") for n, v in letter.headers)
    assert size < 20_000


# Records of others


@given(
    keys,
    st.one_of(st.none(), st.binary(max_size=30)),
    st.lists(st.tuples(st.sampled_from(strategies.DEAD_LETTER_HEADERS), st.one_of(st.none(), st.binary(max_size=8)))),
)
def test_other_records_are_foreign(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    foreign = keep(EncodedDeadLetter(key, b"", headers, 0))._replace(value=value)
    parsed = parse_dead_letter(foreign)
    assert isinstance(parsed, ForeignRecord)
    assert parsed.position == POSITION
    assert parsed.reason


def test_record_that_the_client_cannot_parse_is_foreign() -> None:
    assert isinstance(parse_dead_letter(UnreadableRecord("dlq", 0, 0)), ForeignRecord)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *((name, None, f"it has no header {name}") for name in REQUIRED_HEADERS),
        ("dlq.kind", b"record", "neither event nor metric"),
        ("dlq.error.class", b"other", "unknown to this version"),
        ("dlq.attempts", b"9" * 5_000, "not an integer"),
        ("dlq.source.partition", b"-1", "out of range"),
        ("dlq.source.offset", b"9" * 19, "out of range"),
        ("dlq.table", b"\xff", "can't decode"),
        ("dlq.failed_at", b"yesterday", "not a time"),
        ("dlq.replaces", b"1", "invalid literal"),
    ],
)
def test_missing_or_invalid_header_makes_the_record_foreign(name: str, value: bytes | None, reason: str) -> None:
    letter = encode_dead_letter(failed_metric(), WORKER, 0)
    headers = dict(letter.headers) | {name: value}
    if value is None:
        del headers[name]
    foreign = parse_dead_letter(keep(letter._replace(headers=tuple(headers.items()))))
    assert isinstance(foreign, ForeignRecord)
    assert reason in foreign.reason


def test_nothing_is_kept_of_hostile_headers_and_values() -> None:
    letter = encode_dead_letter(FailedEvent(SOURCE, INVALID), WORKER, FAILED_AT)
    metric = encode_dead_letter(failed_metric(), WORKER, FAILED_AT)
    tracemalloc.start()
    for number in range(100):
        hostile = b"%d" % number + b"x" * 500_000
        assert find_cause(parse(letter._replace(headers=[*letter.headers, ("dlq.error.message", hostile)])))
        for field in (b"user_id", b"completed_at"):
            value = metric.value[:-1] + b',"%s":"%s"}' % (field, hostile)
            with pytest.raises(InvalidDeadLetter):
                parse_metric_event(parse(metric._replace(value=value)))
        parse(letter._replace(headers=[*letter.headers, ("dlq.metric", hostile)]))
        for name in ("dlq.error.type", "dlq.table"):
            assert isinstance(
                parse_dead_letter(keep(letter._replace(headers=[*letter.headers, (name, hostile)]))), ForeignRecord
            )
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 5_000_000


@given(
    st.one_of(strategies.failed_metrics, strategies.failed_events),
    st.sampled_from(strategies.DEAD_LETTER_HEADERS),
    st.one_of(st.none(), st.binary(max_size=30), st.just(b"9" * 5_000)),
    st.one_of(st.none(), st.binary(max_size=30), st.sampled_from([b"{}", b"[]", b"7", b'"x"', b"[" * 9_999])),
)
def test_invalid_value_raises_invalid_dead_letter(
    failed: Failed, name: str, header: bytes | None, value: bytes | None
) -> None:
    letter = encode_dead_letter(failed, WORKER, 0)
    headers = tuple((key, header if key == name else kept) for key, kept in letter.headers)
    parsed = parse_dead_letter(keep(letter)._replace(headers=headers, value=value))
    if isinstance(parsed, ForeignRecord):
        assert parsed.reason
        return
    parse_agent_name(parsed)
    for parse_value in (parse_metric_event, parse_pointer):
        with pytest.raises(InvalidDeadLetter):
            parse_value(parsed)
