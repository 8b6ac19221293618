"""A line for everything that fails: which metric of which execution, why, and where it came from.

Whose execution it was is said only where that is allowed; ClickHouse may quote the user in its message, so there it is
taken out too. `worker.observability.rate_limiter` sees to it that a million failures are not a million lines.
"""

from collections.abc import Sequence

import structlog

from worker.core.model import Failed, FailedMetric, Record

log = structlog.get_logger(__name__)

_LONGEST = 300
_NAMELESS = "(user)"
_TELLING = 3
"""Characters of a user id from which it is looked for in a message; shorter ones are in every message."""


class FailureLog:
    """Logs what fails.

    Args:
        users: whether user ids may be logged.
    """

    def __init__(self, *, users: bool) -> None:
        self._users = users

    def log_failures(self, failed: Sequence[Failed]) -> None:
        """One line for each of `failed`; those that repeat are summarised later."""
        for item in failed:
            if isinstance(item, FailedMetric):
                self._note(item, item.event.record, kind="metric", **self._named(item))
            else:
                self._note(item, item.record, kind="event")

    def _note(self, item: Failed, record: Record, **named: str | None) -> None:
        failure = item.failure
        log.warning(
            "dead letter",
            error_class=failure.error_class.value,
            error_type=failure.error_type,
            error_code=failure.code,
            error=self._message(item),
            source=f"{record.topic}/{record.partition}/{record.offset}",
            **named,
        )

    def _named(self, item: FailedMetric) -> dict[str, str | None]:
        named: dict[str, str | None] = {
            "metric": item.metric[:_LONGEST],
            "execution_id": str(item.event.execution_id),
        }
        return named | ({"user_id": item.event.user_id and item.event.user_id[:_LONGEST]} if self._users else {})

    def _message(self, item: Failed) -> str:
        message = item.failure.message
        user = item.event.user_id if isinstance(item, FailedMetric) and not self._users else None
        if user and len(user) >= _TELLING:
            message = message.replace(user, _NAMELESS)
        return message[:_LONGEST]
