"""A standard stream that is full or closed is one line on stderr, without a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.environment import environment_without_settings
from tests.integration.conftest import Environment, StartWorker, produce
from tests.support.commands import Commands
from tests.support.events import encoded, event
from tests.support.local import wait_until


def run(environment: Environment, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the worker in a shell, which can close and redirect."""
    return subprocess.run(  # noqa: S603 - our own command
        ["/bin/sh", "-c", f"{sys.executable} -m worker {command}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment_without_settings() | environment,
        timeout=60,
        check=False,
    )


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("command", ["check", "dlq list --json", "dlq stats", "audit", "migrate status"])
async def test_output_that_cannot_be_written_is_one_line_and_exit_code_3(
    environment: Environment, start_worker: StartWorker, command: str, redirection: str
) -> None:
    worker = start_worker()
    await produce(environment, b"no event", partition=1)
    count = "metrics_worker_dead_letters_total"
    wait_until(lambda: sum(worker.telemetry()[count].values()) == 1, "a dead letter")
    assert_one_line(run(environment, f"{command} {redirection}"), 3, "the output cannot be written")


def test_result_of_validate_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"{")
    for redirection in (">/dev/full", ">&-"):
        assert_one_line(run({}, f"validate {file} {redirection}"), 3, "the output cannot be written")


async def test_replay_that_cannot_write_its_report_has_saved_its_work(
    environment: Environment, start_worker: StartWorker, commands: Commands
) -> None:
    worker = start_worker()
    await produce(environment, encoded(event(metrics={"bad": float("nan")})), partition=1)
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) == 1, "a dead letter")
    assert_one_line(run(environment, "replay --yes --refused --json >/dev/full"), 3, "the output cannot be written")
    (letter,) = commands.json("dlq", "list")
    assert letter["replays"] == 1


@pytest.mark.parametrize("command", ["produce - <&-", "validate - <&-", "replay <&-"])
def test_closed_stdin_is_wrong_usage(environment: Environment, command: str) -> None:
    assert_one_line(
        run(environment, command), 2, "--yes" if command.startswith("replay") else "standard input is closed"
    )


@pytest.mark.parametrize("command", ["produce", "exec -- true"])
async def test_command_without_output_does_not_need_stdout(
    environment: Environment, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"{}")
    done = run(environment, f"{command} {file if command == 'produce' else ''} >&-")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["dlq list", "replay --yes"])
def test_partition_that_the_dead_letter_topic_lacks_is_wrong_usage(commands: Commands, command: str) -> None:
    done = commands.run(*command.split(), "--partition", "77")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the dead-letter topic has no partition 77; it has 1" in done.stderr
