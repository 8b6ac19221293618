"""Sessions in memory, found by a secret of a browser: so a sign-out ends one for good, and a cookie says nothing."""

from collections.abc import Callable
from secrets import token_urlsafe
from time import monotonic
from typing import Generic, TypeVar

_Value = TypeVar("_Value")


class Sessions(Generic[_Value]):
    """What is known of each browser, for a time; the oldest are forgotten when there are too many."""

    def __init__(self, seconds: float, limit: int, read_clock: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._limit = limit
        self._read_clock = read_clock
        self._entries: dict[str, tuple[float, _Value]] = {}  # in the order of their ends

    def begin(self, value: _Value) -> str:
        """Keep `value` under a new secret, which nobody can guess or choose."""
        self._forget_ended()
        if len(self._entries) >= self._limit:
            del self._entries[next(iter(self._entries))]
        secret = token_urlsafe(32)
        self._entries[secret] = (self._read_clock() + self._seconds, value)
        return secret

    def find(self, secret: str | None) -> _Value | None:
        """What is kept under a secret; None if it is unknown or has ended."""
        self._forget_ended()
        entry = self._entries.get(secret) if secret else None
        return entry[1] if entry else None

    def end(self, secret: str | None) -> _Value | None:
        """Forget what is kept under a secret, and return it."""
        value = self.find(secret)
        self._entries.pop(secret or "", None)
        return value

    def _forget_ended(self) -> None:
        now = self._read_clock()
        while self._entries and next(iter(self._entries.values()))[0] <= now:
            del self._entries[next(iter(self._entries))]
