"""Open dead letters by cause, and since when there are dead letters of each cause."""

import pytest

from tests.support.events import Record, event, read
from tests.unit.dead_letters.builders import WORKER, parse
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters.causes import FOREIGN
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.open_causes import OTHER, OpenCauses
from worker.dead_letters.record_format import encode_dead_letter
from worker.observability.open_dead_letters import OpenCause, OpenDeadLetters

UNREADABLE = FailedEvent(Record(b"{"), Failure(ErrorClass.INVALID_EVENT, "E", "m"))
CLASSES = [error_class.value for error_class in ErrorClass]


def letter(failed: Failed, seconds: int, timestamp: int | None = None) -> DeadLetter:
    parsed = parse(encode_dead_letter(failed, WORKER, seconds * 1_000))
    if timestamp is None:
        return parsed
    return parsed._replace(record=parsed.record._replace(timestamp=timestamp))  # type: ignore[attr-defined]


def refused(name: str) -> FailedMetric:
    return FailedMetric(read(event()), name, 1, Failure(ErrorClass.ROW_REFUSED, "E", "m", 469), 1)


def numbered(found: OpenDeadLetters) -> list[OpenCause]:
    """The causes that are counted separately, without their IDs."""
    return [each._replace(cause="") for each in found.causes if each.cause not in (OTHER, FOREIGN)]


def test_every_class_is_there_without_open_dead_letters() -> None:
    causes = OpenCauses()
    causes.add(letter(UNREADABLE, 1), is_open=False)
    assert causes.summarize() == OpenDeadLetters(
        [*(OpenCause(error_class, OTHER, 0, None) for error_class in CLASSES), OpenCause(FOREIGN, FOREIGN, 0, None)]
    )


def test_settled_dead_letters_count_for_the_time_only_at_which_a_cause_was_first_seen() -> None:
    causes = OpenCauses()
    causes.add(letter(refused("a"), 100), is_open=False)
    for seconds in (300, 200):
        causes.add(letter(refused("a"), seconds), is_open=True)
    causes.add(letter(UNREADABLE, 400), is_open=True)
    causes.add(letter(refused("settled"), 50), is_open=False)
    found = causes.summarize()
    assert numbered(found) == [OpenCause("row_refused", "", 2, 100.0), OpenCause("invalid_event", "", 1, 400.0)]
    assert found.oldest_failure == 200.0


def test_timestamps_of_the_records_decide_when_retention_deletes_them() -> None:
    """The broker's clock, where the topic has it; a record may have none."""
    causes = OpenCauses()
    causes.add(letter(UNREADABLE, 100, timestamp=5_000), is_open=False)
    for timestamp in (-1, 9_500, 7_250, 8_000):
        causes.add(letter(UNREADABLE, 100, timestamp), is_open=True)
    found = causes.summarize()
    assert (found.oldest_failure, found.oldest_timestamp) == (100.0, 7.25)


@pytest.mark.parametrize("clock", [4_000_000_000, 0])
def test_cause_is_first_seen_when_the_topic_got_it_whatever_the_clock_of_the_worker(clock: int) -> None:
    """Where the broker sets the timestamps. Else the alert on new causes would last for years, or never fire."""
    causes = OpenCauses()
    for timestamp in (-1, 9_500, 7_250):
        causes.add(letter(refused("a"), clock if timestamp >= 0 else 100, timestamp), is_open=True)
    assert [each.first_seen for each in numbered(causes.summarize())] == [7.25]


def test_causes_beyond_the_largest_are_counted_by_class_with_the_latest_first_time() -> None:
    causes = OpenCauses()
    for number in range(10):
        for _ in range(10 - number):
            causes.add(letter(refused(f"m{number}"), 100 + number), is_open=True)
    causes.add(letter(UNREADABLE, 7), is_open=True)
    found = causes.summarize(limit=3)
    assert [each.open_count for each in numbered(found)] == [10, 9, 8]
    others = {each.error_class: each for each in found.causes if each.cause == OTHER}
    assert others["row_refused"] == OpenCause("row_refused", OTHER, 28, 109.0)
    assert others["invalid_event"] == OpenCause("invalid_event", OTHER, 1, 7.0)
    assert sum(each.open_count for each in found.causes) == 56


def test_number_of_causes_is_bounded_and_all_dead_letters_are_counted() -> None:
    causes = OpenCauses(max_causes=3)
    for number in range(50):
        causes.add(letter(refused(f"m{number % 25}"), number), is_open=True)
    found = causes.summarize()
    assert [each.open_count for each in numbered(found)] == [2, 2, 2]
    assert sum(each.open_count for each in found.causes) == 50


def test_foreign_records_are_counted_while_they_are_open() -> None:
    causes = OpenCauses()
    for is_open in (True, True, False):
        causes.add(ForeignRecord(Record(b"x"), "no header"), is_open=is_open)
    assert causes.summarize().causes[-1] == OpenCause(FOREIGN, FOREIGN, 2, None)
