"""A log line for each failure: which metric of which execution, why, and from which record.

User ids are logged only if `LOG_USER_IDS` allows it; they are also removed from ClickHouse's message, which may quote
the row. `worker.observability.rate_limiter` limits the number of lines.
"""

from collections.abc import Sequence

import structlog

from worker.core.model import Failed, FailedMetric

log = structlog.get_logger(__name__)

_MAX_CHARACTERS = 300
_MIN_REPLACED_CHARACTERS = 3
"""Shorter user ids are not removed from messages: they occur in many words."""


class FailureLog:
    """Logs failures; user ids only if `users`."""

    def __init__(self, *, users: bool) -> None:
        self._users = users

    def log_failures(self, failed: Sequence[Failed]) -> None:
        """Log one line for each of `failed`; the rate limiter may withhold it."""
        for item in failed:
            failure = item.failure
            record = item.record
            log.warning(
                "dead letter",
                error_class=failure.error_class.value,
                error_type=failure.error_type,
                error_code=failure.code,
                error=self._message(item)[:_MAX_CHARACTERS],
                source=f"{record.topic}/{record.partition}/{record.offset}",
                **self._describe(item),
            )

    def _describe(self, item: Failed) -> dict[str, str | None]:
        if not isinstance(item, FailedMetric):
            return {"kind": item.kind}
        user = item.event.user_id
        return {
            "kind": item.kind,
            "metric": item.metric[:_MAX_CHARACTERS],
            "execution_id": item.event.execution_id,
            **({"user_id": user and user[:_MAX_CHARACTERS]} if self._users else {}),
        }

    def _message(self, item: Failed) -> str:
        message = item.failure.message
        user = item.event.user_id if isinstance(item, FailedMetric) and not self._users else None
        return message.replace(user, "(user)") if user and len(user) >= _MIN_REPLACED_CHARACTERS else message
