"""Times are integers: milliseconds since 1970, UTC."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

DAY = 86_400_000
"""Milliseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


def to_milliseconds(instant: datetime) -> int:
    """Convert a datetime that has a time zone; parts of a millisecond are cut off."""
    return (instant - EPOCH) // MILLISECOND


def format_time(milliseconds: int) -> str:
    """Format a time for a person, to the second; the number itself if no calendar has that time."""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def format_rfc3339(milliseconds: int) -> str:
    """Format a time as RFC 3339 in UTC, with exactly three decimals."""
    seconds, rest = divmod(milliseconds, 1_000)
    # Not strftime: it omits the leading zeros of years before 1000.
    return f"{(EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()}.{rest:03}Z"


@lru_cache(maxsize=4_096)  # the metrics of one event have the same times
def parse_rfc3339(text: str) -> int:
    """Parse what `format_rfc3339` returns. Raises ValueError if `text` has another form."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text[:40]!a} is not a time in UTC with milliseconds")
    return to_milliseconds(datetime.fromisoformat(text))
