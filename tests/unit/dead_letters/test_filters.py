"""A dead letter is selected if it meets every criterion of a filter."""

import pytest

from tests.unit.dead_letters.builders import FAILED_AT, INVALID, POSITION, SOURCE, WORKER, failed_metric, parse
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent
from worker.dead_letters.causes import find_cause_id
from worker.dead_letters.dead_letter import ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.record_format import encode_dead_letter

METRIC = parse(encode_dead_letter(failed_metric(), WORKER, FAILED_AT))
EVENT = parse(encode_dead_letter(FailedEvent(SOURCE, INVALID), WORKER, FAILED_AT))
PARTITION, OFFSET = POSITION


@pytest.mark.parametrize(
    ("criteria", "metric", "event"),
    [
        (DeadLetterFilter(), True, True),
        (DeadLetterFilter(causes=frozenset({find_cause_id(METRIC), "foreign"})), True, False),
        (DeadLetterFilter(positions=frozenset({POSITION, POSITION._replace(offset=0)})), True, True),
        (DeadLetterFilter(positions=frozenset({POSITION._replace(offset=OFFSET + 1)})), False, False),
        (DeadLetterFilter(causes=frozenset({find_cause_id(EVENT)})), False, True),
        (DeadLetterFilter(error_classes=frozenset({ErrorClass.ROW_REFUSED, ErrorClass.TOO_LARGE})), True, False),
        (DeadLetterFilter(error_types=frozenset({"VIOLATED_CONSTRAINT", "x"})), True, False),
        (DeadLetterFilter(error_types=frozenset({"InvalidJSON"})), False, True),
        (DeadLetterFilter(error_codes=frozenset({469})), True, False),
        (DeadLetterFilter(error_codes=frozenset({241})), False, False),
        (DeadLetterFilter(metrics=frozenset({"m", "n"})), True, False),
        (DeadLetterFilter(agents=frozenset({"triage"})), True, True),
        (DeadLetterFilter(agents=frozenset({"other"})), False, False),
        (DeadLetterFilter(since=FAILED_AT), True, True),
        (DeadLetterFilter(since=FAILED_AT + 1), False, False),
        (DeadLetterFilter(until=FAILED_AT), False, False),
        (DeadLetterFilter(until=FAILED_AT + 1), True, True),
        (DeadLetterFilter(partition=PARTITION, offset=OFFSET), True, True),
        (DeadLetterFilter(partition=PARTITION, offset=OFFSET + 1), False, False),
        (DeadLetterFilter(partition=PARTITION + 1), False, False),
        (DeadLetterFilter(metrics=frozenset({"m"}), error_codes=frozenset({1})), False, False),
    ],
)
def test_dead_letter_must_meet_every_criterion(criteria: DeadLetterFilter, metric: bool, event: bool) -> None:
    assert (criteria.matches(METRIC), criteria.matches(EVENT)) == (metric, event)


def test_foreign_record_is_selected_only_by_its_position() -> None:
    foreign = ForeignRecord(METRIC.record, "it is none")
    assert DeadLetterFilter().matches(foreign)
    assert DeadLetterFilter(partition=PARTITION, offset=OFFSET).matches(foreign)
    assert not DeadLetterFilter(partition=PARTITION, offset=OFFSET + 1).matches(foreign)
    assert DeadLetterFilter(positions=frozenset({foreign.position})).matches(foreign)
    assert not DeadLetterFilter(positions=frozenset({foreign.position._replace(offset=OFFSET + 1)})).matches(foreign)
    assert not DeadLetterFilter(partition=PARTITION, since=0).matches(foreign)
    assert DeadLetterFilter(causes=frozenset({"foreign"}), partition=PARTITION).matches(foreign)
    assert not DeadLetterFilter(causes=frozenset({"foreign"}), since=0).matches(foreign)
    assert not DeadLetterFilter(causes=frozenset({find_cause_id(METRIC)})).matches(foreign)
