"""Instruments that `prometheus_client` has not."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from math import inf
from threading import Lock
from time import monotonic

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class BulkHistogram(Collector):
    """A histogram that takes many values at once: a value costs a fifteenth of an `observe` of the library.

    Args:
        name: of the family.
        sentence: its help.
        bounds: upper ends of the buckets, ascending; one without an end is added.
        registry: where it is shown.
    """

    def __init__(self, name: str, sentence: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._sentence = sentence
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()
        registry.register(self)

    def observe_all(self, values: list[float]) -> None:
        """Take `values`, which are sorted in place: cheap where they nearly are."""
        values.sort()
        below = [*(bisect_right(values, bound) for bound in self._bounds), len(values)]
        with self._lock:
            # A producer's clock may be ahead of ours, and a sum must not fall.
            self._sum += sum(values) if values and values[0] >= 0 else sum(value for value in values if value > 0)
            for position, (upper, lower) in enumerate(zip(below, [0, *below], strict=False)):
                self._counts[position] += upper - lower

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        with self._lock:
            counts, total = list(accumulate(self._counts)), self._sum
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        yield HistogramMetricFamily(
            self._name, self._sentence, buckets=list(zip(names, counts, strict=True)), sum_value=total
        )


class RateMeter:
    """How much of some things there was a second lately; kept by the second, for about a minute.

    Args:
        names: of the things.
        clock: in seconds, never running backwards; tests put their own here.

    Attributes:
        totals: how much of each there was in all.
    """

    def __init__(self, names: Sequence[str], clock: Callable[[], float] = monotonic) -> None:
        self.totals = dict.fromkeys(names, 0.0)
        self._clock = clock
        self._began = clock()
        self._seconds: deque[tuple[int, dict[str, float]]] = deque()
        self._lock = Lock()

    def add(self, **amounts: float) -> None:
        """There were so many more."""
        with self._lock:
            second = int(self._clock())
            self._forget(second)
            if not self._seconds or self._seconds[-1][0] != second:
                self._seconds.append((second, dict.fromkeys(self.totals, 0.0)))
            for counts in (self.totals, self._seconds[-1][1]):
                for name, amount in amounts.items():
                    counts[name] += amount

    def per_second(self) -> tuple[float, ...]:
        """The time that is looked at, at most a minute and at least a second; then the mean of each thing in it."""
        with self._lock:
            now = self._clock()
            self._forget(int(now))
            seconds = min(max(now - self._began, 1.0), float(_LATELY_SECONDS))
            sums = [sum(counts[name] for _, counts in self._seconds) for name in self.totals]
        return (seconds, *(total / seconds for total in sums))

    def _forget(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second - _LATELY_SECONDS:
            self._seconds.popleft()


_LATELY_SECONDS = 60


class UnansweredInserts:
    """Blocks that have no answer, or an error that says nothing of them: since when, and with which error."""

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[float, str]] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def record_failure(self, key: int, first_sent: float, error: str) -> None:
        """A block that was first sent at `first_sent`, as `time.monotonic` counts, has failed again with `error`."""
        self._blocks[key] = (min(first_sent, self._blocks.get(key, (first_sent, ""))[0]), error)

    def remove(self, key: int) -> None:
        """It was answered, or abandoned."""
        self._blocks.pop(key, None)

    def oldest_seconds(self) -> float:
        """How long ago the oldest of them was sent first; 0 without any."""
        return self.oldest()[0]

    def oldest(self) -> tuple[float, str]:
        """How long ago the oldest of them was sent first, in seconds, and its last error; 0 and "" without any."""
        first_sent, error = min(tuple(self._blocks.values()), default=(inf, ""))
        return max(monotonic() - first_sent, 0.0), error
