"""Holding: the worker is not ready, and says why. Intake stops when every writer waits; the group membership stays."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import structlog

log = structlog.get_logger(__name__)


class Cause(StrEnum):
    """What the worker waits for while it holds."""

    STORE = "store"
    DEAD_LETTERS = "dead_letters"


class Hold:
    """The reasons for which consumption is paused; without any the worker is ready.

    It logs once when a reason begins, changes, or ends.

    Attributes:
        is_in_doubt: whether rows may be the reason, and not the store: what others write would tell.
    """

    def __init__(self) -> None:
        self._reasons: dict[Cause, str] = {}
        self.is_in_doubt = False

    @property
    def active(self) -> bool:
        """Whether there is a reason."""
        return bool(self._reasons)

    @property
    def reasons(self) -> Mapping[Cause, str]:
        """Each cause with its reason in words, as they are now: the health endpoint looks from another thread."""
        return MappingProxyType(self._reasons.copy())

    def enter(self, cause: Cause, reason: str, *, in_doubt: bool = False) -> None:
        """Begin to hold, or go on for another reason."""
        self.is_in_doubt = in_doubt
        before = self._reasons.get(cause)
        self._reasons[cause] = reason
        if before is None:
            log.error("holding", cause=cause.value, reason=reason)
        elif before != reason:
            log.warning("holding for another reason", cause=cause.value, reason=reason)

    def leave(self, cause: Cause) -> None:
        """Hold no longer for `cause`; where it was no reason, nothing happens."""
        self.is_in_doubt = False
        if self._reasons.pop(cause, None) is not None:
            log.info("holding ended", cause=cause.value, still_holding=sorted(self._reasons))
