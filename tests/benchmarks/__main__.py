"""`make bench`: what the worker costs, how fast it is, and how soon rows can be queried. No figure fails it."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from deploy.local.stack import BROKERS, Stack
from tests.benchmarks.comparison import compare, compute_medians
from tests.benchmarks.dead_letters import measure_dead_letters
from tests.benchmarks.environment import BenchmarkEnvironment, Figures, describe_machine
from tests.benchmarks.isolation import count_bisection_inserts, count_inserts_of_refused_metric
from tests.benchmarks.latency import measure_latency
from tests.benchmarks.report import print_tables
from tests.benchmarks.shapes import measure_batches, measure_shapes

COMPARED = ("floor", "worker", "baselines")
OTHERS = ("batches", "shapes", "latency", "dead_letters", "isolation")
USUAL = (*COMPARED, "isolation")
Numbers = tuple[int, ...]


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
@click.option("--metrics", type=_List(), default="10,100", show_default=True, help="Numbers of metrics per event.")
@click.option("--rates", type=_List(), default="100,1000,10000", show_default=True, help="Events a second (latency).")
@click.option("--seconds", default=30.0, show_default=True, help="Duration of each load (latency).")
@click.option("--like", default="", help="Only shapes whose name contains this, and the plain one (shapes).")
@click.option("--broker", type=click.Choice(list(BROKERS)), default="tansu", show_default=True)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write every figure of every run; - is stdout."
)
def main(
    what: tuple[str, ...],
    events: int,
    runs: int,
    metrics: Numbers,
    rates: Numbers,
    seconds: float,
    like: str,
    broker: str,
    json_file: Path | None,
) -> None:
    """Measure WHAT: by default floor, worker, baselines and isolation, some minutes; `all` takes half an hour."""
    chosen = {*COMPARED, *OTHERS} if "all" in what else set(what or USUAL)
    raw: list[dict[str, Figures]] = []

    def compare_runs(env: BenchmarkEnvironment) -> list[Figures]:
        raw.extend(compare(env, metrics, events, runs, chosen))
        return compute_medians(raw)

    measures: dict[str, Callable[[BenchmarkEnvironment], list[Figures]]] = {
        "comparison": compare_runs,
        "batches": lambda env: measure_batches(env, events),
        "shapes": lambda env: measure_shapes(env, events, runs, like),
        "latency": lambda env: measure_latency(env, rates, seconds),
        "dead_letters": lambda env: measure_dead_letters(env, events),
    }
    results: dict[str, list[Figures]] = {
        "machine": [describe_machine() | {"began": time.strftime("%Y-%m-%d %H:%M:%S")}]
    }
    if "isolation" in chosen:
        results["isolation"] = count_bisection_inserts()
        results["a metric that is always refused"] = count_inserts_of_refused_metric()
    wanted = [name for name in measures if chosen & (set(COMPARED) if name == "comparison" else {name})]
    if wanted:
        with _open_environment(broker) as env:
            for name in wanted:
                results[name] = measures[name](env)
    print_tables(results, stderr=json_file == Path("-"))
    if json_file:
        text = json.dumps({**results, "runs": raw}, indent=1)
        click.echo(text) if json_file == Path("-") else json_file.write_text(text + "\n")


@contextmanager
def _open_environment(broker: str) -> Iterator[BenchmarkEnvironment]:
    with tempfile.TemporaryDirectory(prefix="execution-metrics-bench-") as folder:
        directory = Path(folder)
        with Stack(directory, broker=BROKERS[broker](directory)) as stack:
            yield BenchmarkEnvironment(stack, directory)


if __name__ == "__main__":
    main()
