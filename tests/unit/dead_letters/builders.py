"""Failures, and dead letters as they are read back."""

from tests.support.events import JANUARY_2026, Record, event, read, record
from tests.support.fakes import KeptRecord
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition, FailedMetric, Failure, UnrepresentableNumber
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import parse_dead_letter

WORKER = WorkerInfo(version="1.2.3", table="default.execution_metrics")
FAILED_AT = JANUARY_2026 + 1
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "is violated at row 1", 469)
INVALID = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "the value is not JSON")
SOURCE = record(
    event(), partition=3, offset=42, timestamp=JANUARY_2026, key=b"k", headers=(("trace", b"\xff\0"), ("empty", None))
)
POSITION = DeadLetterPosition(2, 17)


def failed_metric(
    value: float | UnrepresentableNumber = 1.5, metric: str = "m", source: Record = SOURCE, failure: Failure = REFUSED
) -> FailedMetric:
    return FailedMetric(read(event())._replace(record=source), metric, value, failure, attempts=7)


def keep(letter: EncodedDeadLetter) -> KeptRecord:
    """The record that the topic has at `POSITION`."""
    headers = tuple(letter.headers)
    return KeptRecord("execution-completed.dlq", *POSITION, letter.timestamp, letter.key, letter.value, headers)


def parse(letter: EncodedDeadLetter) -> DeadLetter:
    parsed = parse_dead_letter(keep(letter))
    assert isinstance(parsed, DeadLetter), parsed
    return parsed
