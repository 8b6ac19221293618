"""Each metric of a record becomes a row, a failure or a counted skip."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies
from tests.support.events import Record, encoded, event, event_without, read, record, rows_of
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Row, UnreadableRecord, UnrepresentableNumber
from worker.events.fan_out import FanOut, _month_of
from worker.events.times import MAX_TIME


def fan_out(*records: Record) -> FanOut:
    fanned = FanOut()
    for item in records:
        fanned.add_record(item)
    return fanned


def fan_out_metrics(metrics: dict[str, object]) -> FanOut:
    return fan_out(record(event(metrics=metrics)))


def written(fanned: FanOut) -> dict[str, object]:
    """The rows as metrics."""
    return {row.metric: row.value for block in fanned.blocks.values() for row in block.rows()}


class TestValues:
    @pytest.mark.parametrize("value", [0, -1, 1.5, -0.0, 2**53 + 1, 2**64 - 1, 10**30, 5e-324])
    def test_numbers_are_rows(self, value: float) -> None:
        fanned = fan_out_metrics({"m": value})
        assert repr(written(fanned)) == repr({"m": float(value) if abs(value) > 2**64 else value})
        assert (fanned.rows, len(fanned), fanned.events) == (1, 1, 1)

    @pytest.mark.parametrize(("value", "number"), [(True, 1.0), (False, 0.0)])
    def test_booleans_are_rows_of_one_and_zero(self, value: bool, number: float) -> None:
        (block,) = fan_out_metrics({"result_success": value}).blocks.values()
        assert float(rows_of(block)[0].value) == number

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


class TestEvents:
    def test_event_that_cannot_be_read_fails_as_a_whole(self) -> None:
        source = Record(b"{")
        fanned = fan_out(source, record(event()))
        (failed,) = fanned.failed
        assert isinstance(failed, FailedEvent)
        assert failed.record is source
        assert (failed.failure.error_class, failed.failure.error_type) == (ErrorClass.INVALID_EVENT, "InvalidJSON")
        assert fanned.events == 1
        assert fanned.rows == 2
        assert len(fanned) == 3

    def test_tombstones_are_counted(self) -> None:
        fanned = fan_out(Record(None), Record(None))
        assert (fanned.tombstones, fanned.events, len(fanned)) == (2, 0, 0)

    @pytest.mark.parametrize("metrics", [{}, {"a": "text"}, {"": 1}])
    def test_event_without_a_row_makes_no_block(self, metrics: dict[str, object]) -> None:
        fanned = fan_out_metrics(metrics)
        assert fanned.blocks == {}
        assert fanned.events == 1

    @given(strategies.any_values, strategies.any_headers)
    def test_no_record_raises(self, value: bytes | None, headers: tuple[tuple[str, bytes | None], ...]) -> None:
        fanned = fan_out(Record(value, headers=headers))
        invalid = sum(isinstance(item, FailedEvent) for item in fanned.failed)
        assert fanned.events + fanned.tombstones + invalid == 1

    @given(st.binary(max_size=200))
    def test_no_bytes_raise(self, value: bytes) -> None:
        assert len(fan_out(Record(value)).failed) == 1


class TestMonths:
    @pytest.mark.parametrize(
        ("time", "month"),
        [
            ("2026-01-31T23:59:59.999Z", 202601),
            ("2026-02-01T00:00:00Z", 202602),
            ("2026-02-01T00:30:00+01:00", 202601),
            ("2024-02-29T23:59:59Z", 202402),
            ("1970-01-01T00:00:00Z", 197001),
            ("1969-12-31T23:59:59.999Z", 196912),
            ("1900-01-01T00:00:00Z", 190001),
            ("2299-12-31T23:59:59.999Z", 229912),
        ],
    )
    def test_month_is_that_of_completed_at_in_utc(self, time: str, month: int) -> None:
        assert list(fan_out(record(event(completed_at=time))).blocks) == [month]

    def test_each_month_has_a_block(self) -> None:
        times = ["2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-01-01T00:00:00Z"]
        fanned = fan_out(*(record(event(completed_at=time), offset=offset) for offset, time in enumerate(times)))
        assert {month: len(block) for month, block in fanned.blocks.items()} == {202601: 4, 202602: 2}

    def test_month_is_that_of_the_record_if_the_event_has_no_time(self) -> None:
        assert list(fan_out(record(event_without("completed_at"), timestamp=-1)).blocks) == [197001]

    @given(st.integers(-2_208_988_800_000, MAX_TIME))
    def test_month_is_that_of_datetime(self, milliseconds: int) -> None:
        instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
        assert _month_of(milliseconds) == instant.year * 100 + instant.month


class TestTheTwoPaths:
    @given(
        st.dictionaries(st.one_of(strategies.metric_names, strategies.invalid_names), strategies.numbers, max_size=6)
    )
    def test_fast_and_slow_path_agree(self, metrics: dict[str, object]) -> None:
        fast, slow = FanOut(), FanOut()
        source = record(event(metrics=metrics))
        fast.add_record(source)
        slow._add_one_by_one(read(event(metrics=metrics)))
        assert (fast.rows, len(fast), fast.skipped) == (slow.rows, len(slow), slow.skipped)
        assert _shape(fast) == _shape(slow)

    @given(strategies.metrics)
    def test_every_metric_has_exactly_one_result(self, metrics: dict[str, object]) -> None:
        fanned = fan_out_metrics(metrics)
        results = [*written(fanned), *(item.metric for item in fanned.failed if isinstance(item, FailedMetric))]
        assert len(results) == len(set(results))
        assert len(results) + fanned.skipped.total() == len(metrics)
        assert set(results) <= set(metrics)
        assert fanned.rows == len(written(fanned))


def _shape(fanned: FanOut) -> list[object]:
    """Rows and failures, without the record, which is another object on each path."""
    rows = [(block.month, _plain(row)) for block in fanned.blocks.values() for row in block.rows()]
    failed = [(item.metric, repr(item.value), item.failure) for item in fanned.failed if isinstance(item, FailedMetric)]
    return [rows, failed]


def _plain(row: Row) -> tuple[object, ...]:
    return (row.event.execution_id, row.metric, repr(row.value))


def test_record_that_the_client_cannot_parse_fails_with_its_position() -> None:
    unreadable = UnreadableRecord("execution-completed", 3, 41)
    fanned = FanOut()
    fanned.add_record(unreadable)
    (failed,) = fanned.failed
    assert isinstance(failed, FailedEvent)
    assert (failed.record, failed.failure.error_type) == (unreadable, "UnreadableRecord")
    assert (fanned.tombstones, fanned.rows) == (0, 0)


def test_unexpected_exception_fails_one_record_and_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    class FailingRecord(Record):
        @property
        def headers(self) -> tuple[tuple[str, bytes | None], ...]:
            raise ZeroDivisionError

    fanned = fan_out(FailingRecord(encoded(event())), record(event()))
    assert fanned.rows == 2
    assert "decode failed unexpectedly" in capsys.readouterr().out
    (failed,) = fanned.failed
    assert (failed.failure.error_class, failed.failure.error_type) == (ErrorClass.INVALID_EVENT, "ZeroDivisionError")
