"""Statistics count dead letters by kind, in bounded memory."""

from tests.support.events import Record, event, read
from tests.unit.dead_letters.builders import WORKER, parse
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters import documents
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.record_format import encode_dead_letter
from worker.dead_letters.statistics import CauseStatistics, DeadLetterStatistics, TopCounter

UNREADABLE = FailedEvent(Record(b"{"), Failure(ErrorClass.INVALID_EVENT, "E", "m"))


def count(statistics: CauseStatistics | DeadLetterStatistics, failed: Failed, failed_at: int = 0) -> None:
    statistics.visit(parse(encode_dead_letter(failed, WORKER, failed_at)))


def test_document_has_the_top_values_and_the_rest() -> None:
    statistics = DeadLetterStatistics()
    for number in range(30):
        failure = Failure(ErrorClass.ROW_REFUSED, "E", "m", 469 if number else None)
        count(statistics, FailedMetric(read(event()), f"m{number % 7}", 1, failure, 1), number * 3_600_000)
    count(statistics, UNREADABLE)
    document = documents.describe_statistics(statistics, 2)
    assert (document["total"], document["oldest"]) == (31, "1970-01-01T00:00:00.000Z")
    assert document["by_class"] == {
        "top": [{"value": "row_refused", "count": 30}, {"value": "invalid_event", "count": 1}],
        "rest": 0,
    }
    assert document["by_type"] == {"top": [{"value": "E", "count": 31}], "rest": 0}
    assert document["by_code"] == {"top": [{"value": 469, "count": 29}, {"value": None, "count": 2}], "rest": 0}
    by_metric = document["by_metric"]
    assert isinstance(by_metric, dict)
    assert by_metric["rest"] == 31 - sum(entry["count"] for entry in by_metric["top"])


def test_an_empty_metric_name_is_not_counted_as_none() -> None:
    statistics = DeadLetterStatistics()
    failure = Failure(ErrorClass.INVALID_METRIC, "InvalidName", "m")
    count(statistics, FailedMetric(read(event()), "", 1, failure, 1))
    count(statistics, UNREADABLE)
    document = documents.describe_statistics(statistics, 2)
    assert document["by_metric"] == {"top": [{"value": "", "count": 1}, {"value": None, "count": 1}], "rest": 0}


def test_every_dead_letter_is_counted_however_many_combinations_of_values_there_are() -> None:
    statistics = DeadLetterStatistics()
    for number in range(2_500):  # more than what waits to be counted
        failure = Failure(ErrorClass.ROW_REFUSED, f"E{number % 50}", "m")
        count(statistics, FailedMetric(read(event()), f"m{number % 49}", 1, failure, 1))
        if number in (0, 1_234):
            assert statistics.by["type"].count_others(0) == number + 1
    assert statistics.by["type"].most_common(2) == [("E0", 50), ("E1", 50)]
    assert statistics.by["metric"].most_common(1) == [("m0", 52)]
    assert statistics.by["code"].most_common(2) == [(None, 2_500)]


def test_number_of_distinct_values_is_bounded() -> None:
    counter = TopCounter(distinct=3)
    for number in range(1_000):
        counter.count(str(number % 500))
    assert counter.most_common(10) == [("0", 2), ("1", 2), ("2", 2)]
    assert (counter.count_others(10), counter.count_others(1)) == (994, 998)


def test_causes_have_count_times_agents_and_the_latest_position() -> None:
    statistics = CauseStatistics()
    for number in range(9):
        failure = Failure(ErrorClass.ROW_REFUSED, "E", f"would use {number} bytes", 469)
        item = read(event(agent_name=f"agent {number % 7}"))
        count(statistics, FailedMetric(item, "m", 1, failure, 1), 1_000 * (8 - number))
    count(statistics, UNREADABLE)
    document = documents.describe_causes(statistics, 1)
    assert isinstance(document["causes"], list)
    (cause,) = document["causes"]
    assert (document["total"], document["rest"], cause["count"], cause["example"]) == (10, 1, 9, "2:17")
    assert (cause["oldest"], cause["newest"]) == ("1970-01-01T00:00:00.000Z", "1970-01-01T00:00:08.000Z")
    assert (cause["agents"], cause["has_more_agents"]) == ([f"agent {number}" for number in range(5)], True)
    assert (cause["message"], cause["to_do"]) == ("would use ? bytes", ADVICE[ErrorClass.ROW_REFUSED].instructions)


def test_number_of_causes_is_bounded() -> None:
    statistics = CauseStatistics(distinct=3)
    for number in range(100):
        failure = Failure(ErrorClass.STORE_UNAVAILABLE, f"E{number}", "m")
        count(statistics, FailedMetric(read(event()), "m", 1, failure, 1))
    assert [group.cause.error_type for group in statistics.most_common(9)] == ["E0", "E1", "E2"]
    assert (statistics.total, statistics.count_others(9)) == (100, 97)
