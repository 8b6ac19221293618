"""Floor, worker and baselines in one run, on the same topic; ratios are computed within each run."""

import json
import subprocess
import sys
from collections.abc import Iterable, Sequence
from statistics import median

import click

from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, Topic
from tests.benchmarks.events import Shape
from tests.benchmarks.worker import consume_backlog

_NAIVE_EVENTS = 30
_BASELINE_EVENTS = 50_000


def compare(
    env: BenchmarkEnvironment, metrics: Sequence[int], count: int, runs: int, parts: Iterable[str]
) -> list[dict[str, Figures]]:
    """All figures of every run. The numbers of metrics alternate, so that other load affects all of them."""
    wanted = set(parts)
    topics = [env.topic(Shape(number), max(count // max(number // 10, 1), 1_000)) for number in metrics]
    return [_run(env, topic, wanted) for _ in range(runs) for topic in topics]


def _run(env: BenchmarkEnvironment, topic: Topic, wanted: set[str]) -> dict[str, Figures]:
    run: dict[str, Figures] = {"topic": _describe_topic(topic)}
    if "floor" in wanted:
        run["floor"] = _run_module("floor", env.stack.broker.bootstrap_servers, topic.name, str(topic.events))
    if "worker" in wanted:
        run["worker"] = consume_backlog(env, topic)
    if "baselines" in wanted:
        for name, most in (("naive", _NAIVE_EVENTS), ("batching", _BASELINE_EVENTS)):
            engine = env.stack.engine
            run[name] = _run_module(
                *("baselines", name, env.stack.broker.bootstrap_servers, topic.name, str(min(topic.events, most))),
                *(engine.host, str(engine.port), env.stack.database, env.create_table()),
            )
    if "floor" in run and "worker" in run:
        ratio = float(run["worker"]["cpu_us_per_event"]) / float(run["floor"]["floor_us_per_event"])
        run["ratios"] = {"worker_to_floor": round(ratio, 3)}
        for name in ("naive", "batching"):
            if name in run:
                rate = float(run["worker"]["rows_per_second"]) / float(run[name]["rows_per_second"])
                run["ratios"][f"rate_to_{name}"] = round(rate, 2)
                cpu = float(run[name]["cpu_us_per_event"]) / float(run["worker"]["cpu_us_per_event"])
                run["ratios"][f"{name}_cpu_to_worker"] = round(cpu, 2)
    return run


def _describe_topic(topic: Topic) -> Figures:
    return {"metrics_per_event": topic.shape.metrics, "events": topic.events, "event_bytes": topic.event_bytes}


def _run_module(module: str, *arguments: str) -> Figures:
    """Run a module of the benchmarks as a process; returns the JSON that it prints."""
    finished = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", f"tests.benchmarks.{module}", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=environment_without_settings(),
    )
    if finished.returncode:
        raise click.ClickException(f"{module} ended with {finished.returncode}\n{finished.stderr}")
    figures: Figures = json.loads(finished.stdout)
    return figures


def compute_medians(runs: Sequence[dict[str, Figures]]) -> list[Figures]:
    """The medians of all figures, one line for each number of metrics; `runs` is the number of runs."""
    lines = []
    for metrics in dict.fromkeys(run["topic"]["metrics_per_event"] for run in runs):
        same = [run for run in runs if run["topic"]["metrics_per_event"] == metrics]
        line: Figures = {"metrics_per_event": metrics, "runs": len(same)}
        for part in same[0]:
            for name in same[0][part]:
                values = [run[part][name] for run in same]
                numbers = [value for value in values if not isinstance(value, str)]
                line[name if part in ("topic", "ratios") else f"{part}_{name}"] = median(numbers)
        lines.append(line)
    return lines
