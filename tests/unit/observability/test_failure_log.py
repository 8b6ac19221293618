"""What repeats is a few lines of log, nothing is lost from the sum, and no user is named by default."""

import json
import subprocess
import sys
from collections import Counter

import pytest
from structlog.testing import capture_logs

from deploy.local.environment import environment_without_settings
from tests.support.events import event, read
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.observability.failure_log import FailureLog
from worker.observability.rate_limiter import INTERVAL_SECONDS, LINES_PER_KIND, MAX_KINDS, LogRateLimiter

_PROGRAM = """
import logging, sys
from tests.unit.observability.test_failure_log import failed
from worker.observability import logs
from worker.observability.failure_log import FailureLog
logs.configure("INFO", sys.argv[1])
"""


def said(program: str, form: str = "json") -> list[str]:
    """The lines on stderr of a process that logs as the worker does."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", _PROGRAM + program, form],
        capture_output=True,
        text=True,
        env=environment_without_settings(),
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def failed(metric: str = "cost", message: str = "it is violated", user: str | None = "alice-7") -> FailedMetric:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", message, 469)
    return FailedMetric(read(event(user_id=user)), metric, -1, failure, attempts=2)


def test_a_million_refused_metrics_are_a_few_lines_whose_sum_is_a_million() -> None:
    lines = said(
        """
some = [failed(f"metric-{number}") for number in range(1_000)]
log = FailureLog(users=False)
for _ in range(1_000):
    log.log_failures(some)
"""
    )
    assert len(lines) < 20 * MAX_KINDS  # an interval may end on the way
    entries = [json.loads(line) for line in lines]
    told = [entry for entry in entries if entry["event"] == "dead letter"]
    withheld = sum(entry["withheld"] for entry in entries if entry["event"] == "repeated")
    assert len(told) + withheld == 1_000_000
    assert {entry["of"] for entry in entries if entry["event"] == "repeated"} == {"dead letter"}
    assert all(entry["error_code"] == 469 for entry in entries)
    assert told[0]["metric"] == "metric-0"


def test_libraries_are_summarised_too() -> None:
    lines = said("for port in range(1_000): logging.getLogger('aiokafka.conn').warning('no way to %s', port)")
    entries = [json.loads(line) for line in lines]
    assert [entry["event"] for entry in entries[:LINES_PER_KIND]] == [
        f"no way to {port}" for port in range(LINES_PER_KIND)
    ]
    (summary,) = entries[LINES_PER_KIND:]
    assert (summary["of"], summary["withheld"]) == ("aiokafka.conn: no way to %s", 1_000 - LINES_PER_KIND)


def test_errors_that_nobody_awaited_are_one_kind() -> None:
    lines = said(
        """
import asyncio
loop = asyncio.new_event_loop()
for number in range(1_000):
    loop.call_exception_handler({"message": "Task exception was never retrieved", "future": number})
loop.close()
"""
    )
    entries = [json.loads(line) for line in lines]
    assert [entry["event"] for entry in entries[:LINES_PER_KIND]] == [
        f"Task exception was never retrieved\nfuture: {number}" for number in range(LINES_PER_KIND)
    ]
    (summary,) = entries[LINES_PER_KIND:]
    assert (summary["of"], summary["withheld"]) == (
        "asyncio: Task exception was never retrieved",
        1_000 - LINES_PER_KIND,
    )


def test_a_summary_is_told_when_the_interval_is_over_and_begins_anew() -> None:
    told: list[dict[str, object]] = []
    now = [0.0]
    flood = LogRateLimiter(lambda summary: told.append(dict(summary)), clock=lambda: now[0])
    traits = {"error_class": "row_refused", "metric": "cost", "source": "of no account"}
    assert [flood.allows("dead letter", traits) for _ in range(LINES_PER_KIND + 2)] == [True] * LINES_PER_KIND + [
        False
    ] * 2
    now[0] = INTERVAL_SECONDS
    assert flood.allows("dead letter", traits)
    assert told == [
        {
            "of": "dead letter", "error_class": "row_refused", "metric": "cost", "told": LINES_PER_KIND, "withheld": 2,
            "seconds": INTERVAL_SECONDS,
        }
    ]  # fmt: skip
    flood.flush()
    assert len(told) == 1


def test_the_kinds_that_are_told_apart_are_bounded_and_nothing_is_lost() -> None:
    told: list[Counter[str]] = []
    flood = LogRateLimiter(lambda summary: told.append(Counter(withheld=int(str(summary["withheld"])))))
    admitted = sum(
        flood.allows(f"event {kind % 7}", {"metric": f"m{kind}", "error_code": kind}) for kind in range(9_999)
    )
    flood.flush()
    assert admitted <= LINES_PER_KIND * (2 * MAX_KINDS + 7)
    assert admitted + sum(count["withheld"] for count in told) == 9_999


@pytest.mark.parametrize("allowed", [False, True])
def test_users_are_named_only_where_that_is_allowed(allowed: bool) -> None:
    with capture_logs() as logs:
        FailureLog(users=allowed).log_failures(
            [failed(message="violated: user_id = 'alice-7'"), failed(user="a", message="bad")]
        )
    assert ("alice-7" in str(logs)) is allowed
    assert logs[0].get("user_id") == ("alice-7" if allowed else None)
    assert logs[1]["error"] == "bad"
