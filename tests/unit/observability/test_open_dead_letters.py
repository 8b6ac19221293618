"""What Prometheus reads of the open dead letters."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from worker.observability.open_dead_letters import OpenCause, OpenDeadLetters, OpenDeadLettersCollector, WatchState

FOUND = OpenDeadLetters([OpenCause("row_refused", "1f0c2d3e", 3, 5.0), OpenCause("foreign", "foreign", 1, None)], 6, 7)


def scrape(state: WatchState) -> list[str]:
    registry = CollectorRegistry()
    OpenDeadLettersCollector("x_", registry, "dlq", lambda: state)
    return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_scrape_has_what_a_scan_has_found() -> None:
    assert scrape(WatchState(FOUND, last_check=9, scan_seconds=0.5, retention_seconds=100)) == [
        'x_dead_letters_open{cause="1f0c2d3e",error_class="row_refused"} 3.0',
        'x_dead_letters_open{cause="foreign",error_class="foreign"} 1.0',
        'x_dead_letters_cause_first_seen_timestamp_seconds{cause="1f0c2d3e",error_class="row_refused"} 5.0',
        "x_dead_letters_open_oldest_timestamp_seconds 6.0",
        "x_dead_letters_first_expiry_timestamp_seconds 107.0",
        "x_dead_letters_last_check_timestamp_seconds 9.0",
        "x_dead_letters_scan_seconds 0.5",
        'x_retention_seconds{topic="dlq"} 100.0',
    ]


def test_scrape_before_the_first_scan_claims_no_number() -> None:
    assert scrape(WatchState()) == [
        "x_dead_letters_last_check_timestamp_seconds 0.0",
        "x_dead_letters_scan_seconds 0.0",
    ]


@pytest.mark.parametrize(
    ("found", "retention", "expiry"),
    [(FOUND, 100, 107), (FOUND, inf, None), (FOUND, None, None), (OpenDeadLetters([]), 100, None), (None, 100, None)],
)
def test_expiry_is_known_only_if_an_open_dead_letter_can_expire(
    found: OpenDeadLetters | None, retention: float | None, expiry: float | None
) -> None:
    assert WatchState(found, retention_seconds=retention).first_expiry == expiry
