"""Which dead letters are meant, and how that is said on the command line."""

from time import time

import click
import pytest

from tests.support.events import Record, event, read
from tests.support.fakes import KeptRecord
from worker.commands.options import InstantParam, RecordPositionParam
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, RecordPosition
from worker.dead_letters.dead_letter import DeadLetter, WorkerInfo
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.record_format import encode_dead_letter, parse_dead_letter
from worker.replay.plan import ReplayPolicy

AT = 1_767_225_600_000


def letter(failed: Failed) -> DeadLetter:
    written = encode_dead_letter(failed, WorkerInfo("1", "t"), AT)
    found = parse_dead_letter(KeptRecord("dlq", 3, 42, AT, written.key, written.value, tuple(written.headers)))
    assert isinstance(found, DeadLetter)
    return found


METRIC = letter(FailedMetric(read(event()), "m", 1, Failure(ErrorClass.ROW_REFUSED, "E", "words", 469), 1))
EVENT = letter(FailedEvent(Record(b'{"agent_name": "triage"}'), Failure(ErrorClass.INVALID_EVENT, "E", "words")))


@pytest.mark.parametrize(
    ("selection", "metric", "whole"),
    [
        (DeadLetterFilter(), True, True),
        (DeadLetterFilter(error_classes=frozenset({ErrorClass.ROW_REFUSED, ErrorClass.TOO_LARGE})), True, False),
        (DeadLetterFilter(error_codes=frozenset({469})), True, False),
        (DeadLetterFilter(error_codes=frozenset({241})), False, False),
        (DeadLetterFilter(metrics=frozenset({"m", "n"})), True, False),
        (DeadLetterFilter(agents=frozenset({"triage"})), True, True),
        (DeadLetterFilter(agents=frozenset({"other"})), False, False),
        (DeadLetterFilter(since=AT), True, True),
        (DeadLetterFilter(since=AT + 1), False, False),
        (DeadLetterFilter(until=AT), False, False),
        (DeadLetterFilter(until=AT + 1), True, True),
        (DeadLetterFilter(partition=3, offset=42), True, True),
        (DeadLetterFilter(partition=3, offset=41), False, False),
        (DeadLetterFilter(partition=2), False, False),
        (DeadLetterFilter(metrics=frozenset({"m"}), error_codes=frozenset({1})), False, False),
    ],
)
def test_a_letter_is_meant_that_fits_every_filter(selection: DeadLetterFilter, metric: bool, whole: bool) -> None:
    assert (selection.matches(METRIC), selection.matches(EVENT)) == (metric, whole)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.5+00:00", 500),
    ],
)
def test_a_moment_is_an_instant(text: str, milliseconds: int) -> None:
    assert InstantParam().convert(text, None, None) == milliseconds


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7_200), ("7d", 604_800)])
def test_or_so_long_ago(text: str, seconds: int) -> None:
    assert abs(time() - seconds - InstantParam().convert(text, None, None) / 1000) < 60


@pytest.mark.parametrize("text", ["", "yesterday", "2026-01-31", "2026-01-31T00:00:00", "5", "5w", "-5m"])
def test_anything_else_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="so long ago"):
        InstantParam().convert(text, None, None)


def test_a_place_is_partition_and_offset() -> None:
    assert RecordPositionParam().convert("3:42", None, None) == RecordPosition(3, 42)
    assert str(RecordPosition(3, 42)) == "3:42"
    for text in ("3", "3:", ":42", "3:-1", "a:b", "3:42:1"):
        with pytest.raises(click.BadParameter, match="PARTITION:OFFSET"):
            RecordPositionParam().convert(text, None, None)


def test_a_policy_refuses_what_makes_no_sense() -> None:
    for name in ("max_replays", "limit", "metrics_per_second", "max_metrics", "max_bytes"):
        with pytest.raises(ValueError, match=name):
            ReplayPolicy(**{name: 0})  # type: ignore[arg-type]  # none of these is the selection
    assert ReplayPolicy(metrics_per_second=0.5).block_metrics == 1
    assert ReplayPolicy(metrics_per_second=10**9).block_metrics == ReplayPolicy().max_metrics
