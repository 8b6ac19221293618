"""`completed_at` of an event, in milliseconds since 1970 UTC: what DateTime64 can hold, its age, and its month."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from worker.core.errors import InvalidEvent
from worker.core.times import DAY, EPOCH, MILLISECOND, format_rfc3339
from worker.events.tolerant_json import abbreviate

MAX_TIME = 10_413_791_999_999
"""2299-12-31T23:59:59.999Z in milliseconds, the last instant of DateTime64."""
MIN_TIME = -2_208_988_800_000
"""1900-01-01T00:00:00Z in milliseconds, the first instant of DateTime64."""

# RFC 3339, section 5.6, whose note allows a space for the T. Without an offset it is UTC, as in most telemetry.
# datetime.fromisoformat alone would accept weeks and basic forms.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:\d\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)?",
    re.IGNORECASE | re.ASCII,
)
_SECOND = slice(17, 19)
_FIRST_MILLISECONDS = 100_000_000_000
"""A smaller number is in seconds (until the year 5138), any other in milliseconds (from 1973 on)."""

_USUAL_LENGTH = len("2026-01-31T23:59:59.500Z")
_SECONDS: dict[str, int] = {}
"""Cache: the text of a second, with its decimal point -> its milliseconds in UTC."""
_MAX_SECONDS = 20_000
_FRACTIONS = {f"{number:03}Z": number for number in range(1_000)}


def parse_completed_at(value: object) -> int:
    """Parse `completed_at`, in milliseconds since 1970.

    Raises:
        InvalidEvent: `value` is neither an RFC 3339 time nor a number, or outside of 1900 to 2299.
    """
    # The usual form, `2026-01-31T23:59:59.500Z`, in a second that is cached: 0.3 µs instead of 1.3.
    fraction = None
    if isinstance(value, str) and len(value) == _USUAL_LENGTH:
        second, fraction = _SECONDS.get(value[:20]), _FRACTIONS.get(value[20:])
        if second is not None and fraction is not None:
            return second + fraction
    milliseconds = _parse_other(value)
    if fraction is not None:
        if len(_SECONDS) >= _MAX_SECONDS:
            _SECONDS.clear()
        _SECONDS[str(value)[:20]] = milliseconds - fraction
    return milliseconds


def check_age(completed_at: int, recorded_at: int, max_age_days: int) -> None:
    """Check that `completed_at` is at most `max_age_days` before and one day after the timestamp of its record.

    A producer with a wrong clock would scatter its rows over many months, each of which is a part in ClickHouse. If
    `max_age_days` is 0, any time is right.

    Raises:
        InvalidEvent: it is not.
    """
    age = recorded_at - completed_at
    if not max_age_days or -DAY <= age <= max_age_days * DAY:
        return
    if age < 0:
        reason, distance = "InFuture", "a day after"
    else:
        reason, distance = "TooOld", f"{max_age_days} days (EVENT_MAX_AGE_DAYS) before"
    completed, recorded = map(format_rfc3339, (completed_at, recorded_at))
    message = f"completed_at {completed} is more than {distance} the timestamp of its record, {recorded}"
    raise InvalidEvent(reason, message)


@lru_cache(maxsize=4_096)
def month_of_day(day: int) -> int:
    """`YYYYMM` of a day since 1970 in UTC, as ClickHouse's `toYYYYMM` returns it."""
    at = EPOCH + timedelta(days=day)
    return at.year * 100 + at.month


def has_offset(completed_at: object) -> bool:
    """Whether a valid `completed_at` says what its time zone is."""
    return not isinstance(completed_at, str) or completed_at[-1:] in "Zz" or completed_at[-6:-5] in "+-"


def _parse_number(value: float) -> int:
    # An infinite product has no nearest integer.
    if 1000 * value >= MIN_TIME - 1 and value <= MAX_TIME + 1:
        milliseconds = round(1000 * value if value < _FIRST_MILLISECONDS else value)
        if MIN_TIME <= milliseconds <= MAX_TIME:
            return milliseconds
    raise _invalid(
        "as a number must be seconds (below 1e11) or milliseconds since 1970, between 1900 and 2299, and neither "
        "micro- nor nanoseconds",
        value,
    )


def _parse_other(value: object) -> int:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _parse_number(value)
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise _invalid(
            "must be RFC 3339, as 2026-01-31T23:59:59.5Z, or a number of seconds or milliseconds since 1970", value
        )
    # RFC 3339 has leap seconds, datetime does not: 23:59:60 becomes a second after 23:59:59.
    is_leap = value[_SECOND] == "60"
    text = value[:17] + "59" + value[19:] if is_leap else value
    try:
        at = datetime.fromisoformat(text.upper())
        milliseconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - EPOCH) // MILLISECOND + 1_000 * is_leap
    except (ValueError, OverflowError) as error:
        raise _invalid("is not a date and time that exists", value) from error
    if not MIN_TIME <= milliseconds <= MAX_TIME:
        raise _invalid("must be between 1900 and 2299", value)
    return milliseconds


def _invalid(rule: str, value: object) -> InvalidEvent:
    return InvalidEvent("InvalidField", f"completed_at {rule}; got {abbreviate(value)}")
