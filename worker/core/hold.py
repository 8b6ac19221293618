"""Hold: consumption is paused, and the worker is not ready. It keeps its membership of the consumer group."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import structlog

log = structlog.get_logger(__name__)


class Cause(StrEnum):
    """Why consumption is paused: ClickHouse, or the dead-letter topic, does not accept writes."""

    STORE = "store"
    DEAD_LETTERS = "dead_letters"


TOPIC = "topic"
"""The reason of a worker whose topic does not exist. It is reported like a cause of a hold, but work in flight ends."""


class Hold:
    """The causes for which consumption is paused, each with a reason in words; without any the worker is ready.

    A reason is logged when it begins, changes and ends.
    """

    def __init__(self) -> None:
        self._reasons: dict[Cause, str] = {}
        self._in_doubt: set[Cause] = set()

    @property
    def is_active(self) -> bool:
        """Whether consumption is paused."""
        return bool(self._reasons)

    @property
    def is_in_doubt(self) -> bool:
        """Whether the cause may be invalid rows, not the store; if other rows are written, it is."""
        return bool(self._in_doubt)

    @property
    def reasons(self) -> Mapping[Cause, str]:
        """A copy of the current reasons, by cause; the health endpoint reads it from another thread."""
        return MappingProxyType(self._reasons.copy())

    def enter(self, cause: Cause, reason: str, *, in_doubt: bool = False) -> None:
        """Hold for `cause`, or change its reason."""
        if in_doubt:
            self._in_doubt.add(cause)
        else:
            self._in_doubt.discard(cause)
        before = self._reasons.get(cause)
        self._reasons[cause] = reason
        if before is None:
            log.error("holding", cause=cause.value, reason=reason)
        elif before != reason:
            log.warning("holding for another reason", cause=cause.value, reason=reason)

    def leave(self, cause: Cause) -> None:
        """End the hold for `cause`, if there is one."""
        self._in_doubt.discard(cause)
        if self._reasons.pop(cause, None) is not None:
            log.info("holding ended", cause=cause.value, still_holding=sorted(self._reasons))
