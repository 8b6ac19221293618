"""The dead letter: what it keeps, what it adds, and what stands in for what does not fit."""

import json
import math
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import EXECUTION_ID, JANUARY_2026, Record, event, read, record
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure, UnreadableRecord, Unrepresentable
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.headers import MAX_MESSAGE_LENGTH
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.dead_letters.value import encode_value, format_number, format_rfc3339, parse_rfc3339
from worker.events.decode import decode
from worker.events.fan_out import FanOut

HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")
FAILED_AT = JANUARY_2026 + 1
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "is violated at row 1", 469)
INVALID = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "the value is not JSON")
SOURCE = record(
    event(), partition=3, offset=42, timestamp=JANUARY_2026, key=b"k", headers=(("trace", b"\xff\0"), ("empty", None))
)


def failed_metric(
    value: float | Unrepresentable = 1.5, metric: str = "m", source: Record = SOURCE, failure: Failure = REFUSED
) -> FailedMetric:
    decoded = decode(source)
    assert decoded is not None
    return FailedMetric(decoded, metric, value, failure, attempts=7)


def added(letter: EncodedDeadLetter, source: Record = SOURCE) -> dict[str, str]:
    """The headers behind those of the source."""
    return {name: (value or b"").decode("utf-8") for name, value in letter.headers[len(source.headers) :]}


class TestAMetric:
    def test_is_written_as_its_row(self) -> None:
        letter = encode_dead_letter(failed_metric(), HEAD, FAILED_AT)
        assert (letter.key, letter.timestamp) == (b"k", FAILED_AT)
        assert json.loads(letter.value) == {
            "execution_id": EXECUTION_ID,
            "agent_name": "triage",
            "user_id": "u-1",
            "metric_type": "m",
            "metric_value": "1.5",
            "completed_at": "2026-01-31T23:59:59.500Z",
            "recorded_at": "2026-01-01T00:00:00.000Z",
            "source_topic": "execution-completed",
            "source_partition": 3,
            "source_offset": 42,
        }

    def test_has_these_headers(self) -> None:
        assert added(encode_dead_letter(failed_metric(), HEAD, FAILED_AT)) == {
            "dlq.kind": "metric",
            "dlq.error.class": "row_refused",
            "dlq.error.type": "VIOLATED_CONSTRAINT",
            "dlq.error.code": "469",
            "dlq.error.message": "is violated at row 1",
            "dlq.attempts": "7",
            "dlq.metric": "m",
            "dlq.execution_id": EXECUTION_ID,
            "dlq.table": "default.execution_metrics",
            "dlq.source.topic": "execution-completed",
            "dlq.source.partition": "3",
            "dlq.source.offset": "42",
            "dlq.source.timestamp": str(JANUARY_2026),
            "dlq.failed_at": "2026-01-01T00:00:00.001Z",
            "dlq.replays": "0",
            "dlq.worker": "1.2.3",
        }

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0, "0"),
            (-1, "-1"),
            (2**53 + 1, "9007199254740993"),
            (2**64 - 1, "18446744073709551615"),
            (0.1, "0.1"),
            (-0.0, "-0.0"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (1e16, "1e+16"),
            (True, "true"),
            (False, "false"),
            (Unrepresentable("NaN"), "NaN"),
            (Unrepresentable("Infinity"), "Infinity"),
            (Unrepresentable("-Infinity"), "-Infinity"),
            (Unrepresentable("1e400"), "1e400"),
            (Unrepresentable("9" * 400), "9" * 400),
        ],
    )
    def test_keeps_its_value_to_the_digit(self, value: float | Unrepresentable, text: str) -> None:
        assert json.loads(encode_value(failed_metric(value)))["metric_value"] == text

    @given(strategies.numbers)
    def test_keeps_every_number(self, value: float) -> None:
        back = json.loads(format_number(value))
        assert type(back) is type(value)
        assert back == value
        assert math.copysign(1, back) == math.copysign(1, value)

    @given(strategies.metrics)
    def test_keeps_its_name_and_value_all_the_way_from_the_record(self, metrics: dict[str, object]) -> None:
        fanned = FanOut()
        fanned.add_record(record(event(metrics=metrics)))
        for item in fanned.failed:
            written = json.loads(encode_value(item))
            original = metrics[written["metric_type"]]
            assert repr(json.loads(written["metric_value"])) == repr(original)

    @pytest.mark.parametrize("name", ["", "größe", "\ud800", "a\udfffb", "n" * 10_000, 'quote"\n\0'])
    def test_keeps_its_name_whatever_it_is(self, name: str) -> None:
        letter = encode_dead_letter(failed_metric(metric=name), HEAD, FAILED_AT)
        assert json.loads(letter.value)["metric_type"] == name
        assert added(letter)["dlq.metric"] == name[:256].encode("utf-8", "backslashreplace").decode()

    def test_of_an_event_without_a_user_says_null(self) -> None:
        assert json.loads(encode_value(failed_metric(source=record(event(user_id=None)))))["user_id"] is None

    def test_has_no_code_where_clickhouse_gave_none(self) -> None:
        failure = Failure(ErrorClass.INVALID_METRIC, "InvalidName", "words")
        assert "dlq.error.code" not in added(encode_dead_letter(failed_metric(failure=failure), HEAD, FAILED_AT))


class TestAnEvent:
    @given(st.binary())
    def test_keeps_its_bytes(self, value: bytes) -> None:
        assert encode_dead_letter(FailedEvent(Record(value), INVALID), HEAD, FAILED_AT).value == value

    def test_has_these_headers(self) -> None:
        source = SOURCE._replace(value=b"{", timestamp=-1)
        assert added(encode_dead_letter(FailedEvent(source, INVALID), HEAD, FAILED_AT)) == {
            "dlq.kind": "event",
            "dlq.error.class": "invalid_event",
            "dlq.error.type": "InvalidJSON",
            "dlq.error.message": "the value is not JSON",
            "dlq.attempts": "0",
            "dlq.table": "default.execution_metrics",
            "dlq.source.topic": "execution-completed",
            "dlq.source.partition": "3",
            "dlq.source.offset": "42",
            "dlq.source.timestamp": "-1",
            "dlq.failed_at": "2026-01-01T00:00:00.001Z",
            "dlq.replays": "0",
            "dlq.worker": "1.2.3",
        }

    def test_that_the_client_cannot_parse_is_known_by_its_place(self) -> None:
        source = UnreadableRecord("t", 3, 42)
        letter = encode_dead_letter(FailedEvent(source, INVALID), HEAD, FAILED_AT)
        assert (letter.key, letter.value) == (None, b"")
        headers = dict(letter.headers)
        assert [headers[f"dlq.source.{part}"] for part in ("topic", "partition", "offset")] == [b"t", b"3", b"42"]


class TestBoth:
    @pytest.mark.parametrize("key", [None, b"", b"k", b"\xff\0", b"k" * 5_000])
    def test_keep_the_key(self, key: bytes | None) -> None:
        source = SOURCE._replace(key=key)
        for failed in (failed_metric(source=source), FailedEvent(source, INVALID)):
            assert encode_dead_letter(failed, HEAD, FAILED_AT).key == key

    def test_keep_the_headers_of_the_source_and_put_their_own_behind_them(self) -> None:
        source = SOURCE._replace(
            headers=(("dlq.kind", b"a lie"), ("trace", b"\xff"), ("trace", None), ("dlq.replays", b"99"))
        )
        for failed in (failed_metric(source=source), FailedEvent(source, INVALID)):
            letter = encode_dead_letter(failed, HEAD, FAILED_AT)
            assert tuple(letter.headers[:4]) == source.headers
            assert dict(letter.headers)["dlq.kind"] in (b"metric", b"event")
            assert dict(letter.headers)["dlq.replays"] == b"0"
            names = [name for name, _ in letter.headers[4:]]
            assert len(names) == len(set(names))
            assert all(name.startswith("dlq.") for name in names)

    def test_leave_the_source_as_it_was(self) -> None:
        before = tuple(SOURCE.headers)
        encode_dead_letter(failed_metric(), HEAD, FAILED_AT)
        assert SOURCE.headers == before

    def test_bound_the_message(self) -> None:
        failure = REFUSED._replace(message="ä" * 100_000)
        letter = encode_dead_letter(failed_metric(failure=failure), HEAD, FAILED_AT)
        assert added(letter)["dlq.error.message"] == "ä" * MAX_MESSAGE_LENGTH

    def test_write_a_message_that_is_no_text(self) -> None:
        letter = encode_dead_letter(failed_metric(failure=REFUSED._replace(message="\udc80")), HEAD, FAILED_AT)
        assert added(letter)["dlq.error.message"] == "\\udc80"


class TestAPointer:
    def test_says_where_the_source_is_and_what_would_stand_there(self) -> None:
        failed = failed_metric()
        letter = encode_pointer(failed, HEAD, FAILED_AT)
        full = encode_value(failed)
        assert json.loads(letter.value) == {
            "source_topic": "execution-completed",
            "source_partition": 3,
            "source_offset": 42,
            "size": len(full),
            "sha256": sha256(full).hexdigest(),
        }
        assert (letter.key, letter.timestamp) == (b"k", FAILED_AT)

    def test_has_the_headers_of_the_letter_but_for_the_class(self) -> None:
        letter = encode_pointer(failed_metric(), HEAD, FAILED_AT)
        headers = {name: (value or b"").decode() for name, value in letter.headers}
        changed = {
            "dlq.error.class": "too_large",
            "dlq.error.message": "the dead letter does not fit the topic; it failed as row_refused: "
            "is violated at row 1",
        }
        assert headers == added(encode_dead_letter(failed_metric(), HEAD, FAILED_AT)) | changed

    def test_of_an_event_is_of_kind_event(self) -> None:
        source = SOURCE._replace(value=b"x" * 2_000_000)
        letter = encode_pointer(FailedEvent(source, INVALID), HEAD, FAILED_AT)
        assert dict(letter.headers)["dlq.kind"] == b"event"
        assert json.loads(letter.value)["size"] == 2_000_000
        assert json.loads(letter.value)["sha256"] == sha256(b"x" * 2_000_000).hexdigest()

    @pytest.mark.parametrize(("key", "kept"), [(None, True), (b"", True), (b"k" * 1_024, True), (b"k" * 1_025, False)])
    def test_keeps_a_key_of_ordinary_length(self, key: bytes | None, kept: bool) -> None:
        source = SOURCE._replace(key=key)
        assert encode_pointer(failed_metric(source=source), HEAD, FAILED_AT).key == (key if kept else None)

    def test_is_small_whatever_it_points_to(self) -> None:
        big = "\ud800" * 2_000_000
        source = SOURCE._replace(key=b"k" * 2_000_000, headers=(("h", b"h" * 2_000_000),))
        failed = failed_metric(Unrepresentable("9" * 2_000_000), big, source, REFUSED._replace(message=big))
        letter = encode_pointer(failed, HEAD, FAILED_AT)
        size = len(letter.value) + len(letter.key or b"") + sum(len(n) + len(v or b"") for n, v in letter.headers)
        assert size < 20_000


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000Z", "0999-12-31T23:59:59.999Z"])
def test_years_before_1000_have_four_digits_too(text: str) -> None:
    assert format_rfc3339(parse_rfc3339(text)) == text


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-2_208_988_800_000, "1900-01-01T00:00:00.000Z"),
        (10_413_791_999_999, "2299-12-31T23:59:59.999Z"),
    ],
)
def test_an_instant_is_written_as_the_worker_reads_it(instant: int, text: str) -> None:
    assert format_rfc3339(instant) == text
    assert read(event(completed_at=text)).completed_at == instant


def test_a_row_that_was_refused_together_with_others_says_so() -> None:
    together = FailedMetric(read(event()), "m", 1, REFUSED._replace(isolated=False), 1)
    alone = together._replace(failure=REFUSED)
    assert tuple(
        dict(encode_dead_letter(failed, HEAD, 0).headers).get("dlq.isolated") for failed in (together, alone)
    ) == (
        b"false",
        None,
    )
