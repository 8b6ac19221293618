"""`make chaos` itself: what it says of runs that pass, that fail, and that cannot be run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from deploy.local.demo.table import TABLE
from deploy.local.process import REPOSITORY
from tests.chaos.report import summary
from tests.chaos.result import Result, Verdict
from tests.chaos.runner import run_and_print, run_scenario
from tests.chaos.scenario import FaultNotPossibleError, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from tests.chaos.environment import Environment

EVENTS = 300
SECONDS = 5.0


def scenario(breaks: Callable[[Environment], None]) -> Scenario:
    return Scenario("of-a-test", "What the test breaks.", breaks, events=EVENTS)


def lose_the_table(env: Environment) -> None:
    """The worker takes everything, and then it is gone."""
    env.load.send_rest()
    env.workers.start()
    env.wait_until_committed()
    env.run_sql(f"TRUNCATE TABLE {TABLE}")


def kill_behind_the_back(env: Environment) -> None:
    """A worker dies of which nobody asked it."""
    worker = env.workers.start()
    worker.process.process.kill()
    env.workers.start()


def stop_taking(env: Environment) -> None:
    """The only worker is ended, and records are left."""
    env.workers.terminate(env.workers.start())


@pytest.mark.parametrize(
    ("breaks", "problem"),
    [
        (lose_the_table, "the books do not balance: lost"),
        (lose_the_table, "metrics-worker audit: exit 1: "),
        (kill_behind_the_back, "worker-000 has ended by itself"),
        (stop_taking, "stalled: "),
        (lambda env: env.check(False, "as the scenario says"), "as the scenario says"),
        (lambda env: env.run_sql("SELECT 1 FROM nowhere"), "ServerException"),
    ],
    ids=[
        "lost rows",
        "lost rows, to the audit",
        "a worker that dies",
        "records that nobody takes",
        "the scenario's own claim",
        "an exception",
    ],
)
def test_a_run_fails_for_whatever_goes_wrong(
    tmp_path: Path, breaks: Callable[[Environment], None], problem: str
) -> None:
    result = run_scenario(scenario(breaks), 3, EVENTS, SECONDS, tmp_path)

    assert result.verdict is Verdict.FAILED
    assert any(said.startswith(problem) for said in result.problems), result.problems


def test_a_failed_run_says_how_to_repeat_it_and_keeps_its_logs() -> None:
    said = StringIO()

    run_and_print(scenario(stop_taking), 3, EVENTS, SECONDS, Console(file=said, width=1_000))

    lines = [line.strip() for line in said.getvalue().splitlines()]
    assert 'again: make chaos ARGS="--scenario of-a-test --seeds 1 --seed 3 --events 300 --outage 5"' in lines
    logs = Path(next(line for line in lines if line.startswith("logs: ")).removeprefix("logs: "))
    assert '"worker runs"' in (logs / "worker-000.log").read_text()
    shutil.rmtree(logs)


def test_what_cannot_be_made_is_not_passed(tmp_path: Path) -> None:
    def impossible(_: Path) -> AbstractContextManager[None]:
        raise FaultNotPossibleError("there is no such disk")

    cannot = Scenario("of-a-test", "Nothing.", lambda _: None, before_engine=impossible)

    result = run_scenario(cannot, 3, EVENTS, SECONDS, tmp_path)

    assert (result.verdict, result.problems) == (Verdict.NOT_RUN, ["there is no such disk"])
    assert "NOT RUN: there is no such disk" in result.line()


def test_the_summary_counts_each_verdict_apart() -> None:
    said = StringIO()
    runs = [Result("a", seed, verdict, events=100) for seed, verdict in enumerate(Verdict)]

    Console(file=said, width=200).print(summary([*runs, Result("b", 1, Verdict.PASSED)]))

    (line,) = (line for line in said.getvalue().splitlines() if line.strip().startswith("a "))
    assert line.split()[1:3] == ["3", "200"], "what was not run has no events"
    assert "1 passed, 1 FAILED, 1 not run" in line


def test_the_command_runs_a_scenario_and_prints_what_came_of_it(tmp_path: Path) -> None:
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
