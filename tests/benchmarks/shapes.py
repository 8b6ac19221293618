"""The worker's figures by kind of event, topic and batch size."""

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic
from tests.benchmarks.events import Shape
from tests.benchmarks.worker import consume_backlog

_BATCHES = (100, 500, 1_000, 2_500, 5_000, 10_000, 20_000)
_METRICS = (1, 10, 100)
_PLAIN = "10 metrics, 4 partitions"
_TEN_YEARS = 3_650
"""Days."""


def measure_shapes(env: BenchmarkEnvironment, count: int, runs: int, like: str = "") -> list[Figures]:
    """One line for each shape whose name contains `like`: medians, and ratios to the plain shape within a run."""
    named = {name: make() for name, make in _topics(env, count) if like in name or name == _PLAIN}
    samples: dict[str, list[Figures]] = {name: [] for name in named}
    for _ in range(runs):
        for name, topic in named.items():
            samples[name].append(consume_backlog(env, topic))
    return [_summarize(name, figures, samples[_PLAIN]) for name, figures in samples.items()]


def _topics(env: BenchmarkEnvironment, count: int) -> Iterator[tuple[str, Callable[[], Topic]]]:
    shapes = {
        _PLAIN: Shape(),
        "1 metric": Shape(1),
        "100 metrics": Shape(100),
        "events of 0.3 KB": Shape(5),
        "events of 1 KB": Shape(padding=600),
        "events of 10 KB": Shape(padding=9_800),
        "a user and an agent for each event": Shape(users=10**9, agents=10**9),
        "one user, one agent": Shape(users=1, agents=1),
        "0.1 % of the events poisoned": Shape(poison=0.001),
        "5 % of the events poisoned": Shape(poison=0.05),
        "a metric always refused, in 0.1 % of the events": Shape(refused=0.001),
        "a metric always refused, in 1 % of the events": Shape(refused=0.01),
        "a metric always refused, in every event": Shape(refused=1.0),
        "2 % at random times of 400 days": Shape(random_times=0.02),
        "2 % at random times of ten years, all accepted": Shape(
            random_times=0.02, time_range_days=_TEN_YEARS, max_age_days=0
        ),
        "2 % with random names": Shape(random_names=0.02),
        "2 % with 1,000 metrics": Shape(wide=0.02),
        "a careless producer: all three": Shape(random_times=0.02, random_names=0.02, wide=0.02),
        "a careless producer, times of ten years": Shape(
            random_times=0.02, time_range_days=_TEN_YEARS, random_names=0.02, wide=0.02
        ),
        "a careless producer, times of ten years, all accepted": Shape(
            random_times=0.02, time_range_days=_TEN_YEARS, random_names=0.02, wide=0.02, max_age_days=0
        ),
    }
    fewer = {"100 metrics": 10, "events of 10 KB": 4, "a metric always refused, in every event": 5}
    for name, shape in shapes.items():
        yield name, partial(env.topic, shape, count // fewer.get(name, 1))
    for partitions in (1, 16):
        yield f"{partitions} partition(s)", partial(env.topic, Shape(), count, partitions)
    for codec in ("gzip", "lz4", "zstd"):
        yield codec, partial(env.topic, Shape(), count, codec=codec)


def _summarize(name: str, samples: list[Figures], plain: list[Figures]) -> Figures:
    rate, cpu = (_median_ratio(samples, plain, figure) for figure in ("events_per_second", "cpu_us_per_event"))
    line: Figures = {"shape": name}
    for figure in ("events", "events_per_second", "rows_per_second", "cpu_us_per_event", "peak_memory_mb", "inserts"):
        line[figure] = median(float(one[figure]) for one in samples)
    return line | {"rate_to_plain": rate, "cpu_to_plain": cpu}


def _median_ratio(samples: list[Figures], plain: list[Figures], figure: str) -> float:
    return round(
        median(float(one[figure]) / float(other[figure]) for one, other in zip(samples, plain, strict=True)), 2
    )


def measure_batches(env: BenchmarkEnvironment, count: int) -> list[Figures]:
    """Throughput by batch size and metrics per event."""
    lines = []
    for metrics in _METRICS:
        topic = env.topic(Shape(metrics), max(count // max(metrics // 10, 1), 1_000))
        for size in _BATCHES:
            figures = consume_backlog(env, topic, BATCH_MAX_EVENTS=str(size))
            lines.append({"batch_max_events": size, **figures})
    return lines
