"""One run: execute a scenario, verify the results, report them."""

import shutil
import tempfile
import time
import traceback
from pathlib import Path

from deploy.local.demo.dead_letters import OUTAGE_CLASSES
from deploy.local.demo.verification import Tolerance, Verification
from tests.chaos.environment import Environment, StalledError, open_environment
from tests.chaos.result import MAX_PEAK_BYTES, RunResult, Verdict
from tests.chaos.scenario import FaultNotPossibleError, Scenario
from tests.chaos.scenarios import BY_NAME


def run_by_name(name: str, seed: int, events: int | None, outage_seconds: float) -> tuple[RunResult, str]:
    """Run the scenario `name`; see `run_and_describe`. For a process of its own."""
    scenario = BY_NAME[name]
    return run_and_describe(scenario, seed, events or scenario.events, outage_seconds)


def run_and_describe(scenario: Scenario, seed: int, events: int, outage_seconds: float) -> tuple[RunResult, str]:
    """Run `scenario` once; return the result, and the lines to print.

    Of a failed run the logs are kept, and the lines have the command that repeats it.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"execution-metrics-chaos-{scenario.name}-{seed}-"))
    keep = False
    try:
        result = run_scenario(scenario, seed, events, outage_seconds, directory)
        keep = result.verdict is Verdict.FAILED
    finally:
        if not keep:
            shutil.rmtree(directory)
    lines = [result.line()]
    if keep:
        arguments = f"--scenario {scenario.name} --seeds 1 --seed {seed} --events {events} --outage {outage_seconds:g}"
        more = *result.problems, f'repeat with: make chaos ARGS="{arguments}"', f"logs: {directory}"
        lines += [f"    {line}" for line in more]
    return result, "".join(f"{line}\n" for line in lines)


def run_scenario(scenario: Scenario, seed: int, events: int, outage_seconds: float, directory: Path) -> RunResult:
    """Run `scenario` once. Its files stay in `directory`."""
    result, started = RunResult(scenario.name, seed), time.monotonic()
    try:
        with open_environment(scenario, seed, events, outage_seconds, directory) as env:
            try:
                _execute(scenario, env, result)
            finally:
                _copy_figures(env, result)
    except FaultNotPossibleError as error:
        result.verdict, result.problems = Verdict.NOT_RUN, [str(error)]
        return result
    except Exception as error:  # noqa: BLE001 - one failed run must not end the others; the traceback is kept
        result.problems.append(f"{type(error).__name__}: {error}")
        (directory / "traceback.txt").write_text(traceback.format_exc(), encoding="utf-8")
    result.seconds = time.monotonic() - started
    result.verdict = Verdict.FAILED if result.problems else Verdict.PASSED
    return result


def _execute(scenario: Scenario, env: Environment, result: RunResult) -> None:
    """Run the scenario, wait until all is committed, terminate the workers, verify the results."""
    stalled = False
    try:
        scenario.run(env)
        env.load.send_rest()
        env.wait_until_committed()
    except StalledError as error:
        stalled = True
        env.problems.append(f"stalled: {error}")
    for worker in env.workers.crashed:
        env.problems.append(f"{worker.process.name} has ended by itself:\n{worker.process.tail()}")
    for worker in env.workers.running:
        worker.terminate()
        env.check(worker.exit_code == 0, f"{worker.process.name} ended with {worker.exit_code} after SIGTERM")
    for logged in env.workers.logged_tracebacks():
        env.problems.append(f"a worker has logged a traceback: {logged}")
    found = env.verify(Tolerance(scenario.repeats, stalled, scenario.pointer_bytes))
    _check_results(scenario, env, found, result)


def _check_results(scenario: Scenario, env: Environment, found: Verification, result: RunResult) -> None:
    result.rows = found.counts.rows_in_view
    result.dead_letters = sum(count for count, _ in found.dead_letters.values())
    result.outage_letters = sum(count for name, (count, _) in found.dead_letters.items() if name in OUTAGE_CLASSES)
    differences = found.differences
    result.lost, result.duplicates, result.wrong = differences.lost, differences.duplicates, differences.wrong
    result.raw_duplicates = differences.repeats["rows"]
    result.repeated_letters, result.both = differences.repeats["letters"], differences.repeats["both"]
    env.check(not differences, f"the results differ: {'; '.join(differences.examples)}")
    objection = env.run_audit_command()
    env.check(objection is None, f"metrics-worker audit: {objection}")
    env.check(not found.uncommitted, f"the committed offsets miss the end of the topic by {found.uncommitted}")
    env.check(
        result.outage_letters <= scenario.outage_letters,
        f"{result.outage_letters} dead letters because of an outage; at most {scenario.outage_letters} were in flight",
    )
    peak = env.workers.peak_bytes
    env.check(0 < peak <= MAX_PEAK_BYTES, f"a worker had {peak / 1e6:.0f} MB")


def _copy_figures(env: Environment, result: RunResult) -> None:
    result.events = env.expectations.records
    result.restarts = len(env.workers.started) - 1
    result.held_seconds = env.workers.held_seconds()
    result.peak_mb = env.workers.peak_bytes / 1e6
    result.figures = env.figures
    result.problems = env.problems
