"""`make chaos` itself: its reports of runs that pass, that fail, and that this machine does not allow."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.demo.table import TABLE
from deploy.local.process import REPOSITORY
from tests.chaos.environment import Environment
from tests.chaos.report import build_summary
from tests.chaos.result import RunResult, Verdict
from tests.chaos.runner import run_and_describe, run_scenario
from tests.chaos.scenario import FaultNotPossibleError, Scenario

EVENTS = 300
SECONDS = 5.0


def scenario(run: Callable[[Environment], None]) -> Scenario:
    return Scenario("of-a-test", "What the test breaks.", run, events=EVENTS)


def lose_all_rows(env: Environment) -> None:
    env.load.send_rest()
    env.workers.start()
    env.wait_until_committed()
    env.run_sql(f"TRUNCATE TABLE {TABLE}")


def crash_a_worker(env: Environment) -> None:
    env.workers.start().process.kill()
    env.workers.start()


def leave_no_worker(env: Environment) -> None:
    env.workers.start().terminate()


@pytest.mark.parametrize(
    ("run", "problems"),
    [
        (lose_all_rows, ("the results differ: lost", "metrics-worker audit: exit 1: ")),
        (crash_a_worker, ("worker-000 has ended by itself",)),
        (lambda env: env.check(False, "as the scenario says"), ("as the scenario says",)),
        (lambda env: env.run_sql("SELECT 1 FROM nowhere"), ("ServerException",)),
    ],
    ids=["lost rows", "crashed worker", "check of the scenario", "exception"],
)
def test_each_kind_of_problem_fails_a_run(
    tmp_path: Path, run: Callable[[Environment], None], problems: tuple[str, ...]
) -> None:
    result = run_scenario(scenario(run), 3, EVENTS, SECONDS, tmp_path)

    assert result.verdict is Verdict.FAILED
    for problem in problems:
        assert any(found.startswith(problem) for found in result.problems), result.problems


def test_a_failed_run_prints_how_to_repeat_it_and_keeps_its_logs() -> None:
    _, text = run_and_describe(scenario(leave_no_worker), 3, EVENTS, SECONDS)

    lines = [line.strip() for line in text.splitlines()]
    assert any(line.startswith("stalled: ") for line in lines)
    assert 'repeat with: make chaos ARGS="--scenario of-a-test --seeds 1 --seed 3 --events 300 --outage 5"' in lines
    logs = Path(next(line for line in lines if line.startswith("logs: ")).removeprefix("logs: "))
    assert '"worker runs"' in (logs / "worker-000.log").read_text()
    shutil.rmtree(logs)


def test_a_fault_that_is_not_possible_counts_as_not_run(tmp_path: Path) -> None:
    def impossible(_: Path) -> AbstractContextManager[None]:
        raise FaultNotPossibleError("there is no such disk")

    cannot = Scenario("of-a-test", "Nothing.", lambda _: None, before_engine=impossible)

    result = run_scenario(cannot, 3, EVENTS, SECONDS, tmp_path)

    assert (result.verdict, result.problems) == (Verdict.NOT_RUN, ["there is no such disk"])
    assert "NOT RUN: there is no such disk" in result.line()


def test_the_summary_counts_each_verdict_separately() -> None:
    printed = StringIO()
    runs = [RunResult("a", seed, verdict, events=100) for seed, verdict in enumerate(Verdict)]

    Console(file=printed, width=200).print(build_summary([*runs, RunResult("b", 1, Verdict.PASSED)]))

    (line,) = (line for line in printed.getvalue().splitlines() if line.strip().startswith("a "))
    assert line.split()[1:3] == ["3", "200"], "a run that was not run has no events"
    assert "1 passed, 1 FAILED, 1 not run" in line


def test_the_command_runs_a_scenario_and_prints_its_result(tmp_path: Path) -> None:
    options = ["--scenario", "worker-killed", "--seeds", "1", "--seed", "5", "--events", "2000", "--json"]
    finished = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "tests.chaos", *options],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)},
        timeout=110,
    )

    assert finished.returncode == 0, finished.stderr
    run = json.loads(finished.stdout)
    assert (run["scenario"], run["seed"], run["verdict"], run["events"]) == ("worker-killed", 5, "passed", 2_000)
    assert (run["lost"], run["duplicates"], run["wrong"], run["problems"]) == (0, 0, 0, [])
    assert run["figures"]["kills"] == run["restarts"] == 4
    assert list(tmp_path.iterdir()) == []
