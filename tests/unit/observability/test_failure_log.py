"""Log lines of failures name users only if that is allowed."""

import pytest
from structlog.testing import capture_logs

from tests.support.events import event, read
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure
from worker.observability.failure_log import FailureLog


def failed_metric(message: str, user: str) -> FailedMetric:
    failure = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", message, 469)
    return FailedMetric(read(event(user_id=user)), "cost", -1, failure, attempts=2)


@pytest.mark.parametrize("allowed", [False, True])
def test_user_is_logged_only_if_allowed(allowed: bool) -> None:
    with capture_logs() as logs:
        FailureLog(users=allowed).log_failures(
            [failed_metric("violated: user_id = 'alice-7'", user="alice-7"), failed_metric("bad", user="a")]
        )
    assert ("alice-7" in str(logs)) is allowed
    assert logs[0].get("user_id") == ("alice-7" if allowed else None)
    assert (logs[0]["metric"], logs[0]["error_code"]) == ("cost", 469)
    assert logs[1]["error"] == "bad", "a short user id is not removed from other words"
