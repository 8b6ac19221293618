"""Times as text."""

import pytest

from tests.support.events import event, read
from worker.core.times import format_rfc3339, format_time, parse_rfc3339


@pytest.mark.parametrize("milliseconds", [0, -1, 10**18, -(10**18)])
def test_any_number_of_milliseconds_can_be_printed(milliseconds: int) -> None:
    assert format_time(milliseconds).isprintable()


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (-2_208_988_800_000, "1900-01-01T00:00:00.000Z"),
        (10_413_791_999_999, "2299-12-31T23:59:59.999Z"),
    ],
)
def test_time_is_formatted_as_events_have_it(milliseconds: int, text: str) -> None:
    assert format_rfc3339(milliseconds) == text
    assert parse_rfc3339(text) == read(event(completed_at=text), timestamp=-1).completed_at == milliseconds


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00.000Z", "0999-12-31T23:59:59.999Z"])
def test_years_before_1000_have_four_digits(text: str) -> None:
    assert format_rfc3339(parse_rfc3339(text)) == text
