"""`completed_at`: RFC 3339 or a number, in milliseconds UTC, from 1900 to 2299."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies  # noqa: F401  # sets the profile
from worker.core.errors import InvalidEvent
from worker.events import completed_at
from worker.events.completed_at import MAX_TIME, has_offset, parse_completed_at


def milliseconds(text: str) -> int:
    """The time that `datetime` reads, down to milliseconds."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


INSTANTS = {
    "2026-01-31T23:59:59+00:00": [
        *("2026-01-31T23:59:59Z", "2026-01-31t23:59:59z", "2026-01-31T23:59:59-00:00"),
        *("2026-01-31T23:59:59", "2026-01-31 23:59:59", "2026-01-31 23:59:59Z"),
        *("2026-02-01T00:59:59+01:00", "2026-01-31T12:29:59-11:30", "2026-02-01T23:58:59+23:59"),
    ],
    "2026-01-31T23:59:59.123+00:00": ["2026-01-31 23:59:59.1239", "2026-01-31T23:59:59.123456"],
    "2024-02-29T00:00:00+00:00": ["2024-02-29T00:00:00Z"],
    "1900-01-01T00:00:00+00:00": ["1900-01-01T00:00:00Z"],
    "1900-01-01T00:30:00+00:00": ["1899-12-31T23:30:00-01:00"],
    "2299-12-31T23:30:00+00:00": ["2300-01-01T00:30:00+01:00"],
    "2299-12-31T23:59:59.999+00:00": ["2299-12-31T23:59:59.9999Z"],
    "2017-01-01T00:00:00+00:00": ["2016-12-31T23:59:60Z", "2017-01-01T05:29:60+05:30"],  # leap seconds
    "2017-01-01T00:00:00.250+00:00": ["2016-12-31T23:59:60.250Z"],
    "1969-12-31T23:59:59.999+00:00": ["1969-12-31T23:59:59.9999Z"],
    "1969-12-31T23:59:59+00:00": ["1969-12-31T23:59:59Z", "1969-12-31T23:59:59.0001Z"],
}


@pytest.mark.parametrize(
    ("text", "instant"), [(text, instant) for instant, texts in INSTANTS.items() for text in texts]
)
def test_time_is_read_in_utc_also_when_its_second_is_cached(text: str, instant: str) -> None:
    for _ in range(2):
        assert parse_completed_at(text) == milliseconds(instant)


@pytest.mark.parametrize("digits", range(1, 13))
def test_fraction_is_cut_to_milliseconds(digits: int) -> None:
    fraction = "987654321987"[:digits]
    expected = milliseconds("2026-01-31T23:59:59+00:00") + int(fraction.ljust(3, "0")[:3])
    assert parse_completed_at(f"2026-01-31T23:59:59.{fraction}Z") == expected


@given(st.datetimes(datetime(1900, 1, 1), datetime(2299, 12, 31, 23, 59, 59, 999_000), timezones=st.just(UTC)))
def test_cached_and_uncached_seconds_give_the_same_time(instant: datetime) -> None:
    for other in (instant, instant.replace(microsecond=999_000), instant.replace(microsecond=0), instant):
        text = other.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert parse_completed_at(text) == milliseconds(text)


def test_cache_of_seconds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completed_at, "_MAX_SECONDS", 3)
    for second in [*range(10), *range(10)]:
        text = f"2031-01-31T23:59:{second:02}.001Z"
        assert parse_completed_at(text) == milliseconds(text)
    assert len(completed_at._SECONDS) <= 3


@pytest.mark.parametrize("fraction", ["5 0", "+50", "\u0665\u0660\u0660", "5e1", "1_0", "..5"])
def test_fraction_of_other_characters_is_refused_also_when_its_second_is_cached(fraction: str) -> None:
    parse_completed_at("2026-01-31T23:59:59.500Z")
    with pytest.raises(InvalidEvent):
        parse_completed_at(f"2026-01-31T23:59:59.{fraction}Z")


@pytest.mark.parametrize(
    "text",
    [
        *("2026-01-31", "23:59:59Z", "2026-01-31T23:59Z", ""),  # parts are missing
        *("1795600445", "1795600445.5"),  # a number is no text
        *(
            "2026-01-31  23:59:59",
            "2026-01-31_23:59:59Z",
            "20260131T235959Z",
            "2026-W05-6T23:59:59Z",
            "2026-031T23:59:59Z",
        ),  # ISO 8601 only
        *("2026-01-31T23:59:59,5Z", "2026-01-31T23:59:59.Z"),
        *(f"2026-01-31T23:59:59{offset}" for offset in ("+0100", "+01", "+24:00", "+01:60", " Z", "Z\n")),
        *("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),  # no such day or month
        *(f"2026-01-31T{time}Z" for time in ("24:00:00", "23:60:00", "23:59:61")),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),  # before the first year
        *("1899-12-31T23:59:59.999Z", "1900-01-01T00:30:00+01:00", "2300-01-01T00:00:00Z"),  # out of range in UTC
        *("2299-12-31T23:59:60Z", "9999-12-31T23:59:60Z"),  # out of range by a leap second
        *("\u0662026-01-31T23:59:59Z", "2026-01-31T23:59:59\u212a", "\ud800"),  # digits and letters of other scripts
    ],
)
def test_time_in_another_form_is_refused(text: str) -> None:
    with pytest.raises(InvalidEvent, match="completed_at") as caught:
        parse_completed_at(text)
    assert caught.value.reason == "InvalidField"


NUMBERS: list[tuple[float, int]] = [
    *((0, 0), (1_795_600_445, 1_795_600_445_000), (1_795_600_445.123, 1_795_600_445_123)),
    *((1_795_600_445.9996, 1_795_600_446_000), (-1.5, -1_500), (99_999_999.999, 99_999_999_999)),
    *((1_795_600_445_123, 1_795_600_445_123), (1_795_600_445_123.9, 1_795_600_445_124), (1e11, 100_000_000_000)),
    *((-2_208_988_800, -2_208_988_800_000), (10_413_791_999, 10_413_791_999_000)),
    *(
        (10_413_791_999.999, 10_413_791_999_999),
        (10_413_791_999_999, 10_413_791_999_999),
        (10_413_791_999_999.4, 10_413_791_999_999),
        (-2_208_988_800.0001, -2_208_988_800_000),
    ),
]


@pytest.mark.parametrize(("number", "time"), NUMBERS)
def test_number_is_read_in_seconds_or_milliseconds(number: float, time: int) -> None:
    assert parse_completed_at(number) == time


@given(st.integers(0, MAX_TIME))
def test_seconds_with_three_decimals_are_read_exactly(time: int) -> None:
    assert parse_completed_at(time / 1000) == time


@pytest.mark.parametrize(
    "number",
    [
        *(1_795_600_445_123_456, 1_795_600_445_123_456_789, 1_795_600_445.5e6),  # micro- and nanoseconds
        *(10_413_792_000, 10_413_791_999.9999, 99_999_999_999, 10_413_792_000_000, -2_208_988_801),  # out of range
        *(2**64, 1e300, -1e300),
    ],
)
def test_number_of_another_magnitude_is_refused_with_the_units_to_send(number: float) -> None:
    with pytest.raises(InvalidEvent, match=r"completed_at .*seconds \(below 1e11\) or milliseconds.*got") as caught:
        parse_completed_at(number)
    assert caught.value.reason == "InvalidField"


@pytest.mark.parametrize(
    ("value", "has"),
    [
        *(("2026-01-31T23:59:59Z", True), ("2026-01-31t23:59:59.5z", True), ("2026-01-31 23:59:59-00:00", True)),
        *(("2026-01-31T23:59:59", False), ("2026-01-31 23:59:59.1", False), ("2026-01-31T23:59:59.123456789", False)),
        *((1_795_600_445, True), (None, True)),
    ],
)
def test_time_without_an_offset_is_known(value: object, has: bool) -> None:
    assert has_offset(value) is has
