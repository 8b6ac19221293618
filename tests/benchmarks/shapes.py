"""The worker's figures by kind of event, topic and batch size."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic
from tests.benchmarks.medians import median_of, median_ratio
from tests.benchmarks.named_shapes import PLAIN, SHAPES, share_of_events
from tests.benchmarks.worker import consume_backlog

_BATCHES = (100, 500, 1_000, 2_500, 5_000, 10_000, 20_000)
_METRICS = (1, 10, 100)
_BASIS = "plain"
"""The shape, in four partitions, to which all are compared."""


def measure_shapes(env: BenchmarkEnvironment, count: int, runs: int, like: str = "") -> list[Figures]:
    """One line for each shape whose name contains `like`: medians, and ratios to the plain shape within a run."""
    named = {name: make() for name, make in _topics(env, count) if like in name or name == _BASIS}
    samples: dict[str, list[Figures]] = {name: [] for name in named}
    for _ in range(runs):
        for name, topic in named.items():
            samples[name].append(consume_backlog(env, topic))
    return [_summarize(name, figures, samples[_BASIS]) for name, figures in samples.items()]


def _topics(env: BenchmarkEnvironment, count: int) -> Iterator[tuple[str, Callable[[], Topic]]]:
    for name, shape in SHAPES.items():
        yield name, partial(env.topic, shape, share_of_events(name, count))
    for partitions in (1, 16):
        yield f"{partitions} partition(s)", partial(env.topic, PLAIN, count, partitions)
    for codec in ("gzip", "lz4", "zstd"):
        yield codec, partial(env.topic, PLAIN, count, codec=codec)


def _summarize(name: str, samples: list[Figures], plain: list[Figures]) -> Figures:
    line: Figures = {"shape": name}
    for figure in ("events", "events_per_second", "rows_per_second", "cpu_us_per_event", "peak_memory_mb", "inserts"):
        line[figure] = median_of(samples, figure)
    line["rate_to_plain"] = median_ratio(samples, plain, "events_per_second")
    line["cpu_to_plain"] = median_ratio(samples, plain, "cpu_us_per_event")
    return line


def measure_batches(env: BenchmarkEnvironment, count: int) -> list[Figures]:
    """Throughput by batch size and metrics per event."""
    lines = []
    for metrics in _METRICS:
        topic = env.topic(replace(PLAIN, metrics=metrics), max(count // max(metrics // 10, 1), 1_000))
        for size in _BATCHES:
            figures = consume_backlog(env, topic, BATCH_MAX_EVENTS=str(size))
            lines.append({"batch_max_events": size, **figures})
    return lines
