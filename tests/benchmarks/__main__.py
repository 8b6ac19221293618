"""`make bench`: what the worker costs, how fast it is, and how soon rows can be queried. No figure fails it."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import click

from deploy.local.apache_kafka.jars import KafkaMissingError
from deploy.local.stack import BROKERS, Stack
from tests.benchmarks.comparison import compare, compute_medians
from tests.benchmarks.console import measure_console
from tests.benchmarks.dead_letters import measure_dead_letters
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, describe_machine
from tests.benchmarks.isolation import count_bisection_inserts, count_inserts_of_refused_metric
from tests.benchmarks.latency import measure_latency
from tests.benchmarks.named_shapes import EVENTS, find_shapes
from tests.benchmarks.peers.catalogue import describe_peers
from tests.benchmarks.peers.comparison import PeerComparison
from tests.benchmarks.report import print_tables
from tests.benchmarks.shape import Shape
from tests.benchmarks.shapes import measure_batches, measure_shapes
from tests.benchmarks.storage import compare_layouts

COMPARED = ("floor", "worker")
OTHERS = ("peers", "batches", "shapes", "latency", "dead_letters", "console", "isolation", "storage")
USUAL = (*COMPARED, "isolation")
Numbers = tuple[int, ...]
Measure = Callable[[BenchmarkEnvironment], list[Figures]]


@dataclass(frozen=True)
class Options:
    """Options of the command that several measurements use.

    Attributes:
        events: number of waiting events.
        runs: whose median is shown.
        metrics: numbers of metrics per event.
        rates: events a second.
        seconds: duration of a load.
        like: part of the names of events; empty for the usual ones.
    """

    events: int
    runs: int
    metrics: Numbers
    rates: Numbers
    seconds: float
    like: str

    @property
    def shapes(self) -> dict[str, Shape]:
        """The events to compare, by name."""
        return find_shapes(self.like) if self.like else EVENTS


class _List(click.ParamType["Numbers"]):
    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Numbers:
        try:
            return tuple(map(int, str(value).split(",")))
        except ValueError:
            self.fail(f"{value} is not numbers with commas between", param, ctx)


@click.command()
@click.argument("what", nargs=-1, type=click.Choice([*COMPARED, *OTHERS, "all"]))
@click.option("--events", default=100_000, show_default=True, help="Waiting events, of ten metrics each.")
@click.option("--runs", default=5, show_default=True, help="Runs whose median is shown; ratios are within a run.")
@click.option("--metrics", type=_List(), default="10,100", show_default=True, help="Numbers per event (floor, worker).")
@click.option("--rates", type=_List(), default="100,1000,10000", show_default=True, help="Events a second (latency).")
@click.option("--seconds", default=30.0, show_default=True, help="Duration of each load (latency).")
@click.option(
    "--like",
    default="",
    help="Only events or layouts whose name has this (floor, worker, peers: instead of telemetry and plain).",
)
@click.option("--broker", type=click.Choice(list(BROKERS)), help="By default Apache Kafka with peers, else Tansu.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write every figure of every run; - is stdout."
)
def main(what: tuple[str, ...], broker: str | None, json_file: Path | None, **values: Any) -> None:
    """Measure WHAT: by default floor, worker and isolation, some minutes; `all` takes more than an hour."""
    options = Options(**values)
    chosen = {*COMPARED, *OTHERS} if "all" in what else set(what or USUAL)
    if chosen & {*COMPARED, "peers"} and not options.shapes:
        raise click.BadParameter(f"no event has a name with {options.like!r}", param_hint="--like")
    results: dict[str, list[Figures]] = {
        "machine": [describe_machine() | {"began": time.strftime("%Y-%m-%d %H:%M:%S")}]
    }
    if "isolation" in chosen:
        results["isolation"] = count_bisection_inserts()
        results["a metric that is always refused"] = count_inserts_of_refused_metric()
    if "peers" in chosen:
        results["what the worker and its peers do"] = describe_peers()
    if "storage" in chosen:
        results |= compare_layouts(options.events * 10, options.metrics, options.like)
    every_run: list[dict[str, Figures]] = []
    measures = _choose_measures(options, chosen, every_run)
    if measures:
        with _open_environment(broker or ("kafka" if "peers" in chosen else "tansu")) as env:
            results |= {name: measure(env) for name, measure in measures.items()}
    print_tables(results, stderr=json_file == Path("-"))
    if json_file:
        text = json.dumps({**results, "runs": every_run}, indent=1)
        click.echo(text) if json_file == Path("-") else json_file.write_text(text + "\n")


def _choose_measures(options: Options, chosen: set[str], every_run: list[dict[str, Figures]]) -> dict[str, Measure]:
    """The measurements that need servers; floor, worker and peers also add to `every_run`."""

    def compare_worker(env: BenchmarkEnvironment) -> list[Figures]:
        compared = compare(env, _vary_metrics(options), options.events, options.runs, chosen)
        every_run.extend(compared)
        return compute_medians(compared)

    def compare_peers(env: BenchmarkEnvironment) -> list[Figures]:
        comparison = PeerComparison(env, options.events)
        lines = [comparison.compare(name, shape, options.runs) for name, shape in options.shapes.items()]
        every_run.extend(comparison.runs)
        return [*chain.from_iterable(lines)]

    measures: dict[str, Measure] = {
        "peers": compare_peers,
        "batches": lambda env: measure_batches(env, options.events),
        "shapes": lambda env: measure_shapes(env, options.events, options.runs, options.like),
        "latency": lambda env: measure_latency(env, options.rates, options.seconds, options.runs),
        "dead_letters": lambda env: measure_dead_letters(env, options.events),
        "console": lambda env: measure_console(env, options.events),
    }
    others = {name: measure for name, measure in measures.items() if name in chosen}
    return {"comparison": compare_worker, **others} if chosen & {*COMPARED} else others


def _vary_metrics(options: Options) -> dict[str, Shape]:
    """Each of the events with each of the numbers of metrics."""
    return {
        f"{name}, {number} numbers": replace(shape, metrics=number)
        for name, shape in options.shapes.items()
        for number in options.metrics
    }


@contextmanager
def _open_environment(broker: str) -> Iterator[BenchmarkEnvironment]:
    with tempfile.TemporaryDirectory(prefix="execution-metrics-bench-") as folder:
        directory = Path(folder)
        try:
            with Stack(directory, broker=BROKERS[broker](directory)) as stack:
                yield BenchmarkEnvironment(stack, directory)
        except KafkaMissingError as error:
            raise click.ClickException(f"{error}\nTo measure without Apache Kafka: --broker tansu") from error


if __name__ == "__main__":
    main()
