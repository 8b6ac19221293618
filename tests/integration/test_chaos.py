"""`make chaos` itself: its reports of runs that fail, and that this machine does not allow."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from deploy.local.demo.table import TABLE
from tests.chaos.environment import Environment
from tests.chaos.result import Verdict
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
