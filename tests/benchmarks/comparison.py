"""Floor and worker in one run, on the same topic; ratios are computed within each run."""

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

import click

from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic
from tests.benchmarks.medians import median_of
from tests.benchmarks.shape import Shape
from tests.benchmarks.worker import consume_backlog

_FEWEST_EVENTS = 1_000


def compare(
    env: BenchmarkEnvironment, shapes: Mapping[str, Shape], count: int, runs: int, parts: Iterable[str]
) -> list[dict[str, Figures]]:
    """All figures of every run. The shapes alternate, so that other load affects all of them."""
    wanted = set(parts)
    topics = {
        name: env.topic(shape, max(count // max(shape.metrics // 10, 1), _FEWEST_EVENTS))
        for name, shape in shapes.items()
    }
    return [_run(env, name, topic, wanted) for _ in range(runs) for name, topic in topics.items()]


def _run(env: BenchmarkEnvironment, name: str, topic: Topic, wanted: set[str]) -> dict[str, Figures]:
    run: dict[str, Figures] = {
        "topic": {
            "event": name,
            "metrics_per_event": topic.shape.metrics,
            "events": topic.events,
            "event_bytes": topic.event_bytes,
        }
    }
    if "floor" in wanted:
        run["floor"] = _measure_floor(env, topic)
    if "worker" in wanted:
        run["worker"] = consume_backlog(env, topic)
    if "floor" in run and "worker" in run:
        ratio = float(run["worker"]["cpu_us_per_event"]) / float(run["floor"]["floor_us_per_event"])
        run["ratios"] = {"worker_to_floor": round(ratio, 3)}
    return run


def _measure_floor(env: BenchmarkEnvironment, topic: Topic) -> Figures:
    finished = subprocess.run(  # noqa: S603 - our own module
        [
            *(sys.executable, "-m", "tests.benchmarks.floor"),
            *(env.stack.broker.bootstrap_servers, topic.name, str(topic.events)),
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment_without_settings(),
    )
    if finished.returncode:
        raise click.ClickException(f"floor ended with {finished.returncode}\n{finished.stderr}")
    figures: Figures = json.loads(finished.stdout)
    return figures


def compute_medians(runs: Sequence[dict[str, Figures]]) -> list[Figures]:
    """The medians of all figures, one line for each shape; `runs` is the number of runs."""
    lines = []
    for event in dict.fromkeys(run["topic"]["event"] for run in runs):
        same = [run for run in runs if run["topic"]["event"] == event]
        line: Figures = {"event": event, "runs": len(same)}
        for part, figures in same[0].items():
            for name in figures:
                if name != "event":
                    shown = name if part in ("topic", "ratios") else f"{part}_{name}"
                    line[shown] = median_of((run[part] for run in same), name)
        lines.append(line)
    return lines
