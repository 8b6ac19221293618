"""Limits repeated log lines: a few with each key are logged in an interval, the others are counted and summarised.

No failure is lost from the sum: the logged lines with a key, and `withheld` of its summaries, add up to all of them.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from threading import Lock, Timer
from time import monotonic

LINES_PER_KEY = 5
"""Lines with the same key that are logged in an interval."""
INTERVAL_SECONDS = 60.0
"""An interval begins with a line; at its end the withheld lines are summarised, whether more lines come or not."""
MAX_KEYS = 100
"""Keys that are counted separately in an interval; beyond that, all metrics are counted together."""
_KEY_FIELDS = ("error_class", "error_type", "error_code", "metric")

LineKey = tuple[Hashable, ...]
"""The text of a line, and its values of `_KEY_FIELDS`."""


@dataclass
class _Count:
    logged: int = 0
    withheld: int = 0


def _start_timer(seconds: float, function: Callable[[], object]) -> None:
    timer = Timer(seconds, function)
    timer.daemon = True
    timer.start()


class LogRateLimiter:
    """Decides for each line whether it is logged.

    `log_summary` is called, in any thread, with a summary of each key with withheld lines: `of` (their text), the
    fields of the key, `logged`, `withheld`, and the length of the interval in `seconds`.
    """

    def __init__(
        self,
        log_summary: Callable[[Mapping[str, object]], object],
        start_timer: Callable[[float, Callable[[], object]], object] = _start_timer,
    ) -> None:
        self._log_summary = log_summary
        self._start_timer = start_timer
        self._counts: dict[LineKey, _Count] = {}
        self._began = 0.0
        self._timer_runs = False
        self._lock = Lock()

    def allows(self, event: str, fields: Mapping[str, object]) -> bool:
        """Whether a line with this text and these fields is logged; if not, it is counted."""
        with self._lock:
            if not self._counts:
                self._began = monotonic()
            if not self._timer_runs:
                self._timer_runs = True
                self._start_timer(INTERVAL_SECONDS, self._end_interval)
            count = self._count((event, *map(fields.get, _KEY_FIELDS)))
            if count.logged < LINES_PER_KEY:
                count.logged += 1
                return True
            count.withheld += 1
            return False

    def flush(self) -> None:
        """Log a summary of each key with withheld lines, and begin a new interval."""
        with self._lock:
            counts, self._counts = self._counts, {}
            seconds = monotonic() - self._began
        for (event, *values), count in counts.items():
            if count.withheld:
                key = {name: value for name, value in zip(_KEY_FIELDS, values, strict=True) if value is not None}
                numbers = {"logged": count.logged, "withheld": count.withheld, "seconds": round(seconds, 1)}
                self._log_summary({"of": event, **key, **numbers})

    def _end_interval(self) -> None:
        with self._lock:
            self._timer_runs = False
        self.flush()

    def _count(self, key: LineKey) -> _Count:
        if key not in self._counts and len(self._counts) >= MAX_KEYS:
            key = (*key[:-1], None)  # producers choose the names of metrics: there may be any number
            if key not in self._counts and len(self._counts) >= 2 * MAX_KEYS:
                key = (key[0], *[None] * len(_KEY_FIELDS))
        return self._counts.setdefault(key, _Count())
