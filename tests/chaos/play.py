"""One run: play a scenario, close the books, say what came of it."""

from __future__ import annotations

import shutil
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.demo.audit import Findings, Tolerance
from deploy.local.demo.books import OUTAGE
from tests.chaos.field import Field, StalledError, opened
from tests.chaos.result import MAX_PEAK_BYTES, Result, Verdict
from tests.chaos.scenario import NotPossibleError, Scenario

if TYPE_CHECKING:
    from rich.console import Console


def play_and_tell(scenario: Scenario, seed: int, events: int, outage_seconds: float, console: Console) -> Result:
    """Run `scenario` once and print what came of it; of a run that failed also how to repeat it, and its logs stay."""
    directory = Path(tempfile.mkdtemp(prefix=f"execution-metrics-chaos-{scenario.name}-{seed}-"))
    kept = False
    try:
        result = play(scenario, seed, events, outage_seconds, directory)
        kept = result.verdict is Verdict.FAILED
    finally:
        if not kept:
            shutil.rmtree(directory)
    console.print(result.line())
    if kept:
        again = f"--scenario {scenario.name} --seeds 1 --seed {seed} --events {events} --outage {outage_seconds:g}"
        for line in (*result.problems, f'again: make chaos ARGS="{again}"', f"logs: {directory}"):
            console.print(f"    {line}")
    return result


def play(scenario: Scenario, seed: int, events: int, outage_seconds: float, directory: Path) -> Result:
    """Run `scenario` once in `directory`, which is left as it is."""
    result, started = Result(scenario.name, seed), time.monotonic()
    try:
        with opened(scenario, seed, events, outage_seconds, directory) as field:
            try:
                _play(scenario, field, result)
            finally:
                _describe(field, result)
    except NotPossibleError as error:
        result.verdict, result.problems = Verdict.NOT_RUN, [str(error)]
        return result
    except Exception as error:  # noqa: BLE001 - whatever went wrong, the other runs go on; the traceback is kept
        result.problems.append(f"{type(error).__name__}: {error}")
        (directory / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    result.seconds = time.monotonic() - started
    result.verdict = Verdict.FAILED if result.problems else Verdict.PASSED
    return result


def _play(scenario: Scenario, field: Field, result: Result) -> None:
    """1. The scenario. 2. Everything is taken. 3. The workers end. 4. The books."""
    stalled = False
    try:
        scenario.play(field)
        field.load.send_rest()
        field.settle()
    except StalledError as error:
        stalled = True
        field.problems.append(f"stalled: {error}")
    for member in field.crew.deserters:
        field.problems.append(f"{member.process.process.name} has ended by itself:\n{member.process.process.tail()}")
    for member in field.crew.running:
        field.crew.end(member)
        name = member.process.process.name
        field.check(member.exit_code == 0, f"{name} ended with {member.exit_code} after SIGTERM")
    for mistake in field.crew.mistakes():
        field.problems.append(f"a mistake of the worker's, by its own log: {mistake}")
    found = field.audit(Tolerance(repeats=scenario.repeats, unfinished=stalled))
    _judge(scenario, field, found, result)


def _judge(scenario: Scenario, field: Field, found: Findings, result: Result) -> None:
    result.rows = found.counts.rows_in_view
    result.dead_letters = sum(count for count, _ in found.dead_letters.values())
    result.outage_letters = found.dead_letters.get(OUTAGE, (0, None))[0]
    differences = found.differences
    result.lost, result.duplicates, result.wrong = differences.lost, differences.duplicates, differences.wrong
    result.raw_duplicates = differences.repeats["rows"]
    result.repeated_letters, result.both = differences.repeats["letters"], differences.repeats["both"]
    field.check(not differences, f"the books do not balance: {'; '.join(differences.examples)}")
    against = field.independent_audit()
    field.check(against is None, f"metrics-worker audit: {against}")
    field.check(not found.uncommitted, f"the committed offsets miss the end of the topic by {found.uncommitted}")
    field.check(
        result.outage_letters <= scenario.outage_letters,
        f"{result.outage_letters} dead letters because of an outage; at most {scenario.outage_letters} were in flight",
    )
    peak = field.crew.peak_bytes
    field.check(0 < peak <= MAX_PEAK_BYTES, f"a worker had {peak / 1e6:.0f} MB")


def _describe(field: Field, result: Result) -> None:
    result.events = field.ledger.records
    result.restarts = len(field.crew.members) - 1
    result.held_seconds = field.crew.held_seconds()
    result.peak_mb = field.crew.peak_bytes / 1e6
    result.figures = field.notes
    result.problems = field.problems
