"""What is read back from a dead letter is what was written, and what is none never stops a reader."""

import json
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import JANUARY_2026, Record, event, read, record
from worker.core.errors import ErrorClass
from worker.core.model import (
    Failed,
    FailedEvent,
    FailedMetric,
    Failure,
    RecordPosition,
    ReplayedRecord,
    Unrepresentable,
)
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter, ForeignRecord, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer, parse_dead_letter
from worker.dead_letters.value import (
    DamagedLetter,
    encode_value,
    parse_agent_name,
    parse_metric_event,
    parse_pointer,
    to_replayed_record,
)
from worker.events.decode import decode
from worker.events.fan_out import FanOut

HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "is violated at row 1", 469)
INVALID = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "the value is not JSON")
AT = RecordPosition(2, 17)

keys = st.sampled_from([None, b"", b"k", b"\xff\x00"])
headers = st.lists(
    st.tuples(
        st.sampled_from(["dlq.kind", "dlq.error.class", "dlq.replays", "dlq.replaces", "dlq.metric", "trace", ""]),
        st.sampled_from([None, b"", b"event", b"99", b"\xff"]),
    ),
    max_size=4,
).map(tuple)


class DeadLetterScan(NamedTuple):
    """A record on the dead-letter topic, as the Kafka client hands it out."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int = JANUARY_2026
    topic: str = "execution-completed.dlq"
    partition: int = AT.partition
    offset: int = AT.offset


def standing(letter: EncodedDeadLetter) -> DeadLetterScan:
    return DeadLetterScan(letter.key, letter.value, tuple(letter.headers), letter.timestamp)


def back(letter: EncodedDeadLetter) -> DeadLetter:
    found = parse_dead_letter(standing(letter))
    assert isinstance(found, DeadLetter), found
    return found


def of_source(failed: FailedMetric, source: Record) -> FailedMetric:
    return failed._replace(event=failed.event._replace(record=source))


@given(
    strategies.failed_metrics, keys, headers, st.one_of(strategies.numbers, strategies.literals.map(Unrepresentable))
)
@example(FailedMetric(read(event()), "\ud800", 1, REFUSED, 1), None, (("dlq.kind", b"event"),), 2**53 + 1)
@example(FailedMetric(read(event()), "", 1, REFUSED, 1), b"", (), -0.0)
@example(FailedMetric(read(event()), "m", 1, REFUSED, 1), b"", (), 5e-324)
@example(FailedMetric(read(event()), "m", 1, REFUSED, 1), b"", (), True)
@example(FailedMetric(read(event()), "m", 1, REFUSED, 1), b"", (), 2**64 - 1)
@example(FailedMetric(read(event()), "m", 1, REFUSED, 1), b"", (), Unrepresentable("NaN"))
def test_a_metric_comes_back_as_it_was(
    failed: FailedMetric,
    key: bytes | None,
    others: tuple[tuple[str, bytes | None], ...],
    value: float | Unrepresentable,
) -> None:
    source = failed.event.record
    whole = Record(None, source.topic, source.partition, source.offset, source.timestamp, key, others)
    failed = of_source(failed, whole)._replace(value=value)
    written = encode_dead_letter(failed, HEAD, JANUARY_2026)
    letter = back(written)
    again = parse_metric_event(letter)
    assert again[:5] == failed.event[:5]
    assert isinstance(again.record, ReplayedRecord)
    assert again.record[:7] == (*whole[1:5], key, None, others)
    ((name, number),) = again.metrics.items()
    assert (name, repr(number), type(number)) == (failed.metric, repr(value), type(value))
    assert letter.failure == failed.failure._replace(message=_as_text(failed.failure.message))
    assert (letter.kind, letter.attempts, letter.replays, letter.replaces) == ("metric", failed.attempts, 0, None)
    # And the dead letter of the replay is the same again, but for its history.
    third = encode_dead_letter(FailedMetric(again, name, value, letter.failure, 0), HEAD, JANUARY_2026)
    changed = {"dlq.replays": b"1", "dlq.replaces": b"2:17"}
    assert (third.key, third.value) == (written.key, written.value)
    assert dict(third.headers) == dict(written.headers) | changed
    assert tuple(third.headers[: len(others)]) == others
    assert len(third.headers) == len(written.headers) + 1
    fourth = encode_dead_letter(FailedMetric(parse_metric_event(back(third)), name, value, letter.failure, 0), HEAD, 0)
    assert len(fourth.headers) == len(third.headers), "headers do not grow with replays"


def _as_text(message: str) -> str:
    return message[:2_000].encode("utf-8", "backslashreplace").decode()


@given(st.binary(max_size=60), keys, headers, st.integers(-1, 2**62))
@example(b"\xff\xfe garbage", b"", (("dlq.kind", b"metric"), ("dlq.error.class", b"too_large")), -1)
def test_an_event_comes_back_as_it_was(
    value: bytes, key: bytes | None, others: tuple[tuple[str, bytes | None], ...], timestamp: int
) -> None:
    source = Record(value, partition=3, offset=42, timestamp=timestamp, key=key, headers=others)
    written = encode_dead_letter(FailedEvent(source, INVALID), HEAD, JANUARY_2026)
    letter = back(written)
    again = to_replayed_record(letter, letter.record.value)
    assert again[:7] == (source.topic, 3, 42, timestamp, key, value, others)
    assert (letter.kind, letter.metric, letter.execution_id, letter.source) == ("event", None, None, source[1:4])
    third = encode_dead_letter(FailedEvent(again, INVALID), HEAD, JANUARY_2026)
    assert (third.key, third.value) == (key, value)
    assert dict(third.headers) == dict(written.headers) | {"dlq.replays": b"1", "dlq.replaces": b"2:17"}


@given(strategies.metrics)
def test_what_a_careless_producer_sent_is_judged_again_as_it_was(metrics: dict[str, object]) -> None:
    fanned = FanOut()
    fanned.add_record(record(event(metrics=metrics)))
    again = FanOut()
    for item in fanned.failed:
        again.add_event(parse_metric_event(back(encode_dead_letter(item, HEAD, 0))))
    assert [encode_value(item) for item in again.failed] == [encode_value(item) for item in fanned.failed]
    assert [item.failure for item in again.failed] == [item.failure for item in fanned.failed]


@given(st.one_of(strategies.failed_metrics, strategies.failed_events))
def test_a_pointer_tells_its_digest_and_no_headers_of_the_source(failed: Failed) -> None:
    letter = back(encode_pointer(failed, HEAD, 0))
    assert letter.is_pointer
    assert parse_pointer(letter).size == len(encode_value(failed))
    assert letter.source_headers == ()
    assert parse_agent_name(letter) is None


def test_a_metric_of_an_event_that_was_replayed_is_part_of_it() -> None:
    letter = back(encode_dead_letter(FailedEvent(record(event(metrics={"m": -1})), INVALID), HEAD, 0))
    decoded = decode(to_replayed_record(letter, letter.record.value))
    assert decoded is not None
    part = back(encode_dead_letter(FailedMetric(decoded, "m", -1, REFUSED, 3), HEAD, 0))
    assert (part.part_of, part.replaces, part.replays, part.attempts) == (AT, None, 1, 3)


@pytest.mark.parametrize(
    ("value", "agent"),
    [
        (b'{"agent_name": "triage", "metrics": 7}', "triage"),
        (b'{"specversion": "1.0", "data": {"agent_name": "triage"}}', "triage"),
        (b'{"agent_name": 7}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (b"", None),
        (b"[]", None),
    ],
)
def test_the_agent_of_an_event_that_cannot_be_read_is_told_where_it_can(value: bytes, agent: str | None) -> None:
    assert parse_agent_name(back(encode_dead_letter(FailedEvent(Record(value), INVALID), HEAD, 0))) == agent


class TestWhatIsNoDeadLetter:
    @given(
        keys,
        st.one_of(st.none(), st.binary(max_size=30)),
        st.lists(
            st.tuples(st.sampled_from(strategies.DEAD_LETTER_HEADERS), st.one_of(st.none(), st.binary(max_size=8)))
        ),
    )
    def test_is_reported_and_stops_nobody(
        self, key: bytes | None, value: bytes | None, others: list[tuple[str, bytes | None]]
    ) -> None:
        found = parse_dead_letter(DeadLetterScan(key, value, tuple(others)))
        assert isinstance(found, ForeignRecord)
        assert found.position == AT
        assert found.reason

    @given(
        st.one_of(strategies.failed_metrics, strategies.failed_events),
        st.sampled_from(strategies.DEAD_LETTER_HEADERS),
        st.one_of(st.none(), st.binary(max_size=30), st.just(b"9" * 5_000)),
        st.one_of(st.none(), st.binary(max_size=30), st.sampled_from([b"{}", b"[]", b"7", b'"x"', b"[" * 9_999])),
    )
    def test_damage_is_one_of_two_known_errors(
        self, failed: Failed, name: str, spoilt: bytes | None, value: bytes | None
    ) -> None:
        written = encode_dead_letter(failed, HEAD, 0)
        others = tuple((key, spoilt if key == name else kept) for key, kept in written.headers)
        letter = parse_dead_letter(DeadLetterScan(written.key, value, others))
        if isinstance(letter, ForeignRecord):
            assert name.split(".")[-1] in letter.reason or letter.reason
            return
        parse_agent_name(letter)
        for content in (parse_metric_event, parse_pointer):
            with pytest.raises(DamagedLetter):
                content(letter)

    @pytest.mark.parametrize(
        "name", ["dlq.kind", "dlq.error.class", "dlq.source.offset", "dlq.failed_at", "dlq.metric"]
    )
    def test_says_which_header_is_missing(self, name: str) -> None:
        written = encode_dead_letter(FailedMetric(read(event()), "m", 1, REFUSED, 1), HEAD, 0)
        others = tuple(header for header in written.headers if header[0] != name)
        found = parse_dead_letter(DeadLetterScan(None, b"", others))
        assert isinstance(found, ForeignRecord)
        assert name in found.reason

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("metric_value", "one"),
            ("metric_value", 1.5),
            ("metric_value", "[1]"),
            ("metric_value", "[" * 9_999),
            ("completed_at", "yesterday"),
            ("completed_at", "2026-02-30T00:00:00.000Z"),
            ("execution_id", "0b2d"),
            ("execution_id", None),
            ("agent_name", 7),
            ("agent_name", "a\ud800"),
            ("user_id", 7),
            ("user_id", "\udfff"),
            ("metric_type", None),
        ],
    )
    def test_a_value_that_is_no_metric_is_damaged(self, field: str, value: object) -> None:
        written = encode_dead_letter(FailedMetric(read(event()), "m", 1, REFUSED, 1), HEAD, 0)
        document = json.loads(written.value) | {field: value}
        letter = back(written._replace(value=json.dumps(document).encode()))
        with pytest.raises(DamagedLetter):
            parse_metric_event(letter)
