"""Each metric of a record becomes a row, a failure or a counted skip."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support import strategies
from tests.support.events import Record, encoded, event, event_without, read, record
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, SkippedItem, UnreadableRecord, UnrepresentableNumber
from worker.core.times import DAY
from worker.events.completed_at import MAX_TIME, month_of_day
from worker.events.fan_out import FanOut
from worker.events.metric_shapes import KNOWN_NAMES, MAX_BYTES, MAX_KNOWN_NAMES, NAMES, SHAPES
from worker.events.skip_counter import count_by_name

FEBRUARY_2026 = 1_769_904_000_000
"""2026-02-01T00:00:00Z in milliseconds."""


def fan_out(*records: Record) -> FanOut:
    fanned = FanOut()
    for item in records:
        fanned.add_record(item)
    return fanned


def fan_out_metrics(metrics: dict[str, object]) -> FanOut:
    return fan_out(record(event(metrics=metrics)))


def names(fanned: FanOut) -> dict[SkippedItem, int]:
    return count_by_name(fanned.skipped_metrics, fanned.skipped_labels)


def written(fanned: FanOut) -> dict[str, object]:
    """The rows as metrics."""
    return {row.metric: row.value for block in fanned.blocks.values() for row in block.rows()}


def rows(fanned: FanOut) -> list[tuple[str, str]]:
    """Names and values; 1, 1.0 and True are equal, but not their texts."""
    return [(row.metric, repr(row.value)) for block in fanned.blocks.values() for row in block.rows()]


def failures(fanned: FanOut) -> list[tuple[object, ...]]:
    return [(item.metric, repr(item.value), item.failure) for item in fanned.failed if isinstance(item, FailedMetric)]


class TestValues:
    @pytest.mark.parametrize("value", [0, -1, 1.5, -0.0, 2**53 + 1, 2**64 - 1, 10**30, 5e-324, True, False])
    def test_numbers_and_booleans_are_rows(self, value: float) -> None:
        fanned = fan_out_metrics({"m": value})
        assert repr(written(fanned)) == repr({"m": float(value) if abs(value) > 2**64 else value})
        assert (fanned.rows, len(fanned), fanned.events) == (1, 1, 1)

    def test_other_values_are_skipped_and_counted_by_type(self) -> None:
        metrics: dict[str, object] = {"a": "x", "b": None, "c": "12", "d": [1], "e": {"p50": 1}, "f": 1}
        fanned = fan_out(*(record(event(metrics=metrics), offset=offset) for offset in range(3)))
        assert fanned.skipped == {"string": 6, "null": 3, "array": 3, "object": 3}
        assert written(fanned) == {"f": 1}
        assert (fanned.rows, fanned.events, fanned.failed) == (3, 3, [])

    @pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "9" * 400])
    def test_number_beyond_float64_fails_only_itself(self, literal: str) -> None:
        value = encoded(event(metrics={"a": 1, "bad": "?", "b": 2.5, "s": "x"})).replace(b'"?"', literal.encode())
        source = Record(value)
        fanned = fan_out(source)
        assert written(fanned) == {"a": 1, "b": 2.5}
        assert fanned.skipped == {"string": 1}
        (failed,) = fanned.failed
        assert isinstance(failed, FailedMetric)
        assert (failed.metric, failed.value, failed.attempts) == ("bad", UnrepresentableNumber(literal), 0)
        assert failed.event.record is source
        assert failed.failure.error_class is ErrorClass.INVALID_METRIC
        assert failed.failure.error_type == "UnrepresentableNumber"
        assert len(failed.failure.message) < 100

    def test_object_with_such_a_number_is_skipped_as_an_object(self) -> None:
        fanned = fan_out_metrics({"o": {"x": float("nan")}, "l": [float("inf")]})
        assert fanned.skipped == {"object": 1, "array": 1}
        assert len(fanned) == 0


class TestNames:
    @pytest.mark.parametrize("name", ["n", "n" * 256, "ä" * 256, "\U0001f980" * 256, " ", "\0", "größe"])
    def test_name_has_1_to_256_characters(self, name: str) -> None:
        assert written(fan_out_metrics({name: 1})) == {name: 1}

    @pytest.mark.parametrize("name", ["", "n" * 257, "\ud800", "a\udfffb", "\ude00\ud83d"])
    @pytest.mark.parametrize("value", [1, True, 1.5])
    def test_invalid_name_fails_only_its_metric(self, name: str, value: float) -> None:
        fanned = fan_out_metrics({"a": 1, name: value, "b": 2})
        assert written(fanned) == {"a": 1, "b": 2}
        (failed,) = fanned.failed
        assert isinstance(failed, FailedMetric)
        assert (failed.metric, failed.value, failed.failure.error_type) == (name, value, "InvalidName")

    def test_surrogates_of_two_names_do_not_make_one_valid_character(self) -> None:
        fanned = fan_out_metrics(dict(zip(("\ud83d", "\ude00", "good"), (1, 2, 3), strict=True)))
        assert written(fanned) == {"good": 3}
        assert len(fanned.failed) == 2

    def test_metric_that_is_skipped_may_have_an_invalid_name(self) -> None:
        fanned = fan_out_metrics({"": "text", "n" * 257: None})
        assert fanned.skipped == {"string": 1, "null": 1}
        assert fanned.failed == []


class RecordThatRaises(Record):
    @property
    def headers(self) -> tuple[tuple[str, bytes | None], ...]:
        raise ZeroDivisionError


class TestEvents:
    @pytest.mark.parametrize(
        ("source", "error_type"),
        [
            (Record(b"{"), "InvalidJSON"),
            (UnreadableRecord("execution-completed", 3, 41), "UnreadableRecord"),
            (UnreadableRecord("execution-completed", 3, 41, first_offset=7), "UnreadableBatch"),
            (RecordThatRaises(encoded(event())), "ZeroDivisionError"),
        ],
    )
    def test_record_that_cannot_be_read_fails_as_a_whole(self, source: Record, error_type: str) -> None:
        with capture_logs() as logs:
            fanned = fan_out(source, record(event()))
        (failed,) = fanned.failed
        assert isinstance(failed, FailedEvent)
        assert failed.record is source
        assert (failed.failure.error_class, failed.failure.error_type) == (ErrorClass.INVALID_EVENT, error_type)
        assert (fanned.events, fanned.rows, len(fanned)) == (1, 2, 3)
        is_unexpected = error_type == "ZeroDivisionError"
        assert [entry["event"] for entry in logs] == ["decode failed unexpectedly"] * is_unexpected

    def test_values_without_a_row_are_released(self) -> None:
        """An array of a megabyte takes 28 once parsed, and the event lives as long as its rows."""
        fanned = fan_out_metrics({"a": 1, "b": [[]], "c": float("nan"), "": 2})
        (block,) = fanned.blocks.values()
        assert [event.metrics for event in block.events] == [{}]
        assert [failed.event.metrics for failed in fanned.failed if isinstance(failed, FailedMetric)] == [{}, {}]

    @pytest.mark.parametrize("metrics", [{}, {"a": "text"}, {"": 1}])
    def test_event_without_a_row_makes_no_block(self, metrics: dict[str, object]) -> None:
        fanned = fan_out_metrics(metrics)
        assert fanned.blocks == {}
        assert fanned.events == 1

    @given(st.one_of(strategies.any_values, st.binary(max_size=200)), strategies.any_headers)
    def test_no_record_raises(self, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]) -> None:
        fanned = fan_out(Record(value, headers=headers))
        invalid = sum(isinstance(item, FailedEvent) for item in fanned.failed)
        assert fanned.events + fanned.tombstones + invalid == 1


class TestBytes:
    def test_longest_user_of_many_metrics_counts_in_every_row(self) -> None:
        metrics = {str(number): number for number in range(1_000)}
        fanned = fan_out(record(event(user_id="\U0001f980" * 256, metrics=metrics)))
        assert 1_000 * 1_024 < fanned.bytes < 1_000 * 1_200

    def test_failures_count(self) -> None:
        fanned = fan_out_metrics({"a": float("nan"), "b": float("nan")})
        assert fanned.bytes >= 2 * 100

    def test_names_that_occur_once_do_not_keep_later_names_out_of_the_cache(self) -> None:
        for number in range(MAX_KNOWN_NAMES // 100 + 1):
            fan_out_metrics({f"once_{number}_{at}": 1 for at in range(100)})
        fan_out_metrics({"usual": 1})
        assert "usual" in KNOWN_NAMES
        assert len(KNOWN_NAMES) <= MAX_KNOWN_NAMES + 1_000


class TestKnownShapes:
    def test_shapes_that_occur_once_do_not_keep_later_shapes_out_of_the_cache(self) -> None:
        most = 0
        for number in range(300):
            metrics = {f"{number}_{at}" + 200 * "x": (1, "a")[at % 2] for at in range(100)}
            fan_out(record(event(metrics=metrics)), record(event(metrics=metrics)))
            most = max(most, sum(len("".join(names)) + 100 * len(names) for names in SHAPES))
        usual = record(event(metrics={"usual": 1, "model": "m"}))
        fan_out(usual, usual)
        assert ("usual", "model") in SHAPES
        assert MAX_BYTES // 4 < most < MAX_BYTES

    @pytest.mark.parametrize("value", [1, "text"])
    def test_large_shape_is_not_remembered(self, value: object) -> None:
        """A name that is skipped may be as long as the event."""
        names = tuple(f"{number}" + 250 * "x" for number in range(1_000)) if value == 1 else ("x" * MAX_BYTES,)
        large = record(event(metrics=dict.fromkeys(names, value)))
        fan_out(large, large)
        assert names not in {*SHAPES, *NAMES}

    def test_shape_that_occurs_once_is_not_remembered(self) -> None:
        fan_out_metrics({"occurs once": 1})
        fan_out_metrics({"occurs once": 1, "with a text": "x"})
        assert not {("occurs once",), ("occurs once", "with a text")} & {*SHAPES, *NAMES}

    def test_decimals_that_are_whole_numbers_make_no_new_shape(self) -> None:
        for values in ((1, 2.5), (1.5, 2), (True, 1)):
            fan_out_metrics(dict(zip(("whole", "or not"), values, strict=True)))
        assert ("whole", "or not") in NAMES

    def test_events_of_one_shape_share_the_names_of_their_rows(self) -> None:
        metrics = {"a": 1, "model": "m", "b": 2.5}
        fanned = fan_out(*(record(event(metrics=metrics), offset=offset) for offset in range(4)))
        (block,) = fanned.blocks.values()
        assert block.names == [("a", "b")] * 4
        assert block.names[2] is block.names[3]


class TestMonths:
    @pytest.mark.parametrize(
        ("time", "month"),
        [
            ("2026-01-31T23:59:59.999Z", 202601),
            ("2026-02-01T00:00:00Z", 202602),
            ("2026-02-01T00:30:00+01:00", 202601),
        ],
    )
    def test_month_is_that_of_completed_at_in_utc(self, time: str, month: int) -> None:
        assert list(fan_out(record(event(completed_at=time), timestamp=FEBRUARY_2026)).blocks) == [month]

    def test_month_is_that_of_the_record_if_the_event_has_no_time(self) -> None:
        assert list(fan_out(record(event_without("completed_at"), timestamp=-1)).blocks) == [197001]

    @given(st.integers(-2_208_988_800_000, MAX_TIME))
    def test_month_is_that_of_datetime(self, milliseconds: int) -> None:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        assert month_of_day(milliseconds // DAY) == instant.year * 100 + instant.month


class TestTheTwoPaths:
    @given(st.lists(strategies.metrics_of_any_type, min_size=1, max_size=6), st.booleans())
    def test_shapes_and_a_check_of_each_metric_agree(
        self, all_metrics: list[dict[str, object]], is_known: bool
    ) -> None:
        """Also on the second event of a shape, and on one that differs only in a type or in the order."""
        NAMES.clear()
        SHAPES.clear()
        KNOWN_NAMES.clear()
        documents = [event(metrics=metrics) for metrics in all_metrics * (3 if is_known else 1)]
        fast = fan_out(*map(record, documents))
        KNOWN_NAMES.clear()
        slow = FanOut()
        for document in documents:
            slow._add_checked(read(document))
        assert (fast.rows, fast.skipped_metrics) == (slow.rows, slow.skipped_metrics)
        assert (rows(fast), failures(fast)) == (rows(slow), failures(slow))
        assert fast.bytes >= slow.bytes
        assert {month: block.deduplication_token() for month, block in fast.blocks.items()} == {
            month: block.deduplication_token() for month, block in slow.blocks.items()
        }


class TestLabels:
    def test_skipped_labels_are_counted_by_reason_and_the_rows_stay(self) -> None:
        labels = {"model": "m", "attempt": 2, "": "x"}
        fanned = fan_out(*(record(event(labels=labels, status=[]), offset=offset) for offset in range(3)))
        assert fanned.skipped_labels.by_reason() == {"not_a_string": 6, "invalid_name": 3}
        assert fanned.rows == 6
        (block,) = fanned.blocks.values()
        assert [(item.labels, item.skipped_labels) for item in block.events] == [((("model", "m"),), ())] * 3

    def test_labels_that_events_share_count_once_and_their_places_in_every_row(self) -> None:
        metrics = {str(number): number for number in range(100)}
        labels = {f"{number:02}": "x" * 256 for number in range(16)}
        one, two, bare = (
            fan_out(*(record(event(metrics=metrics, labels=given), offset=n) for n in range(count))).bytes
            for given, count in ((labels, 1), (labels, 2), ({}, 1))
        )
        texts = 16 * 258
        assert one - bare >= texts + 100 * 16 * 2
        assert fan_out(record(event(metrics=metrics, labels={"a": "b"}))).bytes - bare < 1_000
        assert two <= 2 * one


class TestSkippedItems:
    def test_metrics_and_labels_are_counted_by_name_and_reason(self) -> None:
        source = record(event(metrics={"model": "m", "ms": "812", "n": None, "ok": 1}, labels={"attempt": 2}))
        assert names(fan_out(source, source)) == {
            ("metric", "model", "string"): 2,
            ("metric", "ms", "string"): 2,
            ("metric", "n", "null"): 2,
            ("label", "attempt", "not_a_string"): 2,
        }

    def test_names_are_bounded_in_number_and_length(self) -> None:
        fanned = fan_out(
            *(record(event(metrics={f"{n}": "x" for n in range(k, k + 900)})) for k in range(0, 5_000, 900))
        )
        assert len(names(fanned)) == 1_000
        assert fanned.skipped.total() == 5_400
        (item,) = names(fan_out_metrics({"n" * 100_000: "x"}))
        assert item == ("metric", "n" * 256, "string")
