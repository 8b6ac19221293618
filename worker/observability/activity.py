"""What the worker does now, and what it has done since its start and in the last minute.

For readiness and for the status page, which keeps no history.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from math import inf
from threading import Lock
from time import monotonic, time
from typing import NamedTuple

from worker.core.errors import ErrorClass
from worker.core.frequent_items import FrequentItems
from worker.core.model import Failed, SkippedItem

_WINDOW_SECONDS = 60
_MAX_NAME_CHARACTERS = 256
_MOST_SKIPPED = 10


class Rates(NamedTuple):
    """Mean numbers per second over the last `seconds`."""

    seconds: float = 0.0
    events: float = 0.0
    rows: float = 0.0
    dead_letters: float = 0.0


class LastDeadLetter(NamedTuple):
    """The last dead letter of a class: `number` is their number since the start, `at` is in Unix time."""

    error_class: ErrorClass
    number: int
    at: float
    error_type: str
    code: int | None
    metric: str | None


class RecentActivity:
    """Counts events, rows and dead letters; written by the event loop, read by the threads of the HTTP server."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._totals = Counter(events=0, rows=0, dead_letters=0)
        self._by_second: deque[tuple[int, Counter[str]]] = deque()
        self._numbers: Counter[ErrorClass] = Counter()
        self._last: dict[ErrorClass, LastDeadLetter] = {}
        self._skipped: FrequentItems[SkippedItem] = FrequentItems()
        self._lock = Lock()

    def count(self, **numbers: int) -> None:
        """Add to the numbers of `events`, `rows` or `dead_letters`."""
        with self._lock:
            second = int(self._clock())
            self._drop_before(second - _WINDOW_SECONDS)
            if not self._by_second or self._by_second[-1][0] != second:
                self._by_second.append((second, Counter()))
            self._totals.update(numbers)
            self._by_second[-1][1].update(numbers)

    def count_dead_letters(self, dead_letters: Collection[tuple[Failed, ErrorClass]]) -> None:
        """Count dead letters, and keep the last one of each class."""
        self._numbers.update(error_class for _, error_class in dead_letters)
        for error_class, item in {error_class: item for item, error_class in dead_letters}.items():
            metric = None if item.metric is None else item.metric[:_MAX_NAME_CHARACTERS]
            number, failure = self._numbers[error_class], item.failure
            self._last[error_class] = LastDeadLetter(
                error_class, number, time(), failure.error_type, failure.code, metric
            )
        self.count(dead_letters=len(dead_letters))

    def count_skipped(self, items: Mapping[SkippedItem, int]) -> None:
        """Add to the numbers of skipped metrics and labels."""
        with self._lock:
            self._skipped.add(items)

    @property
    def most_skipped(self) -> list[tuple[SkippedItem, int]]:
        """The metrics and labels that were skipped most since the start, and how often, at least."""
        with self._lock:
            return self._skipped.most_common(_MOST_SKIPPED)

    @property
    def last_dead_letters(self) -> list[LastDeadLetter]:
        """The last dead letter of each class, the latest first."""
        return sorted(self._last.copy().values(), key=lambda dead_letter: -dead_letter.at)

    @property
    def totals(self) -> Mapping[str, int]:
        """The numbers since the start."""
        with self._lock:
            return dict(self._totals)

    @property
    def rates(self) -> Rates:
        """The mean over the last minute, or since the start (at least one second)."""
        with self._lock:
            now = self._clock()
            self._drop_before(int(now) - _WINDOW_SECONDS)
            seconds = min(max(now - self._began, 1.0), float(_WINDOW_SECONDS))
            sums: Counter[str] = Counter()
            for _, numbers in self._by_second:
                sums.update(numbers)
        return Rates(seconds, *(sums[name] / seconds for name in Rates._fields[1:]))

    def _drop_before(self, second: int) -> None:
        while self._by_second and self._by_second[0][0] <= second:
            self._by_second.popleft()


class OpenInserts:
    """Pieces of blocks whose INSERT has no answer yet, or failed with an error that says nothing about the rows."""

    def __init__(self) -> None:
        self._pieces: dict[object, tuple[float, str]] = {}  # by identity

    def __len__(self) -> int:
        return len(self._pieces)

    def record(self, piece: object, first_sent: float, error: str) -> None:
        """Keep the last error of a piece, and when it was first sent (`time.monotonic`)."""
        self._pieces[piece] = (min(first_sent, self._pieces.get(piece, (first_sent, ""))[0]), error)

    def remove(self, piece: object) -> None:
        """Remove a piece that was answered or abandoned; it may be unknown."""
        self._pieces.pop(piece, None)

    def oldest(self) -> tuple[float, str]:
        """Seconds since the oldest piece was first sent, and its last error; 0 and "" if there is none."""
        first_sent, error = min(tuple(self._pieces.values()), default=(inf, ""))
        return max(monotonic() - first_sent, 0.0), error
