"""Log lines of failures: their number is limited, and they name users only if that is allowed."""

import json

import pytest
from structlog.testing import capture_logs

from tests.support.events import event, read
from tests.unit.observability.program import run_logging_program
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.observability.failure_log import FailureLog
from worker.observability.rate_limiter import MAX_KINDS


def failed_metric(metric: str = "cost", message: str = "it is violated", user: str | None = "alice-7") -> FailedMetric:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", message, 469)
    return FailedMetric(read(event(user_id=user)), metric, -1, failure, attempts=2)


def test_many_failures_are_few_lines_that_add_up() -> None:
    entries = [
        json.loads(line)
        for line in run_logging_program(
            """
from tests.unit.observability.test_failure_log import failed_metric
from worker.observability.failure_log import FailureLog
failed = [failed_metric(f"metric-{number}") for number in range(1_000)]
log = FailureLog(users=False)
for _ in range(100):
    log.log_failures(failed)
"""
        )
    ]
    assert len(entries) < 20 * MAX_KINDS  # an interval may end in between
    logged = [entry for entry in entries if entry["event"] == "dead letter"]
    summaries = [entry for entry in entries if entry["event"] == "repeated"]
    assert len(logged) + sum(summary["withheld"] for summary in summaries) == 100_000
    assert {summary["of"] for summary in summaries} == {"dead letter"}
    assert all(entry["error_code"] == 469 for entry in entries)
    assert logged[0]["metric"] == "metric-0"


@pytest.mark.parametrize("allowed", [False, True])
def test_user_is_logged_only_if_allowed(allowed: bool) -> None:
    with capture_logs() as logs:
        FailureLog(users=allowed).log_failures(
            [failed_metric(message="violated: user_id = 'alice-7'"), failed_metric(user="a", message="bad")]
        )
    assert ("alice-7" in str(logs)) is allowed
    assert logs[0].get("user_id") == ("alice-7" if allowed else None)
    assert logs[1]["error"] == "bad", "a short user id is not removed from other words"
