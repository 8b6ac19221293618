"""Failures that repeat: some are told one by one, the rest is counted and told in one line.

A million refused metrics are a few lines a minute. Nothing is lost from the sum: the lines of one kind, and what the
summaries say was withheld of it, together are the failures.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from threading import Lock
from time import monotonic

LINES_PER_KIND = 5
"""Lines of a kind in an interval that are told one by one."""
INTERVAL_SECONDS = 60.0
MAX_KINDS = 100
"""Kinds that are told apart in an interval; metrics beyond that are counted together."""
_TRAITS = ("error_class", "error_type", "error_code", "metric")

Kind = tuple[Hashable, ...]


@dataclass
class _Count:
    told: int = 0
    withheld: int = 0


class LogRateLimiter:
    """Says of each line whether it is told.

    Args:
        tell: is given a summary of each kind of which something was withheld: `of`, its traits, `told`, `withheld`
            and `seconds`.
        clock: in seconds; tests put their own here.
    """

    def __init__(self, tell: Callable[[Mapping[str, object]], object], clock: Callable[[], float] = monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._counts: dict[Kind, _Count] = {}
        self._began = clock()
        self._lock = Lock()

    def allows(self, event: str, traits: Mapping[str, object]) -> bool:
        """Whether a line with this text and these traits is told; else it is counted."""
        if self._clock() - self._began >= INTERVAL_SECONDS:
            self.flush()
        with self._lock:
            count = self._count((event, *map(traits.get, _TRAITS)))
            if count.told < LINES_PER_KIND:
                count.told += 1
                return True
            count.withheld += 1
            return False

    def flush(self) -> None:
        """Tell what was withheld, and begin anew."""
        with self._lock:
            counts, self._counts = self._counts, {}
            began, self._began = self._began, self._clock()
        for (event, *traits), count in counts.items():
            if count.withheld:
                named = {name: trait for name, trait in zip(_TRAITS, traits, strict=True) if trait is not None}
                self._tell(
                    {"of": event, **named, "told": count.told, "withheld": count.withheld}
                    | {"seconds": round(self._began - began, 1)}
                )

    def _count(self, kind: Kind) -> _Count:
        if kind not in self._counts and len(self._counts) >= MAX_KINDS:
            kind = (*kind[:-1], None)  # names of metrics are the producers': there may be any number
            if kind not in self._counts and len(self._counts) >= 2 * MAX_KINDS:
                kind = (kind[0], *[None] * len(_TRAITS))
        return self._counts.setdefault(kind, _Count())
