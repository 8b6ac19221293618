"""A standard stream that is full or closed is one line on stderr, without a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.local.environment import environment_without_settings
from tests.integration.conftest import Environment, StartWorker, produce
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import encoded, event, read
from tests.support.local import wait_until
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure

pytestmark = pytest.mark.any_broker


def run(environment: Environment, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the worker in a shell, which can close, redirect and pipe; of a pipe, its exit code counts."""
    return subprocess.run(  # noqa: S603 - our own command
        ["/bin/bash", "-c", f"{sys.executable} -m worker {command}; exit ${{PIPESTATUS[0]}}"],
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


async def test_command_ends_quietly_with_141_when_the_reader_of_its_output_has_ended(
    environment: Environment, commands: Commands, tmp_path: Path
) -> None:
    outage = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
    source = read(event(metrics={}))
    await write_dead_letters(
        environment, *(FailedMetric(source, f"m{number}", 1, outage, 1) for number in range(1_000))
    )
    commands.json("dlq", "discard", "--metric", "m0", "--reason", "for the history", "--yes")
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"{\n" * 2_000)
    # More than a pipe holds: the command still writes when `head` has ended.
    for command in ("dlq list", "dlq list --whole", "dlq export", f"validate {file}"):
        done = run(environment, f"{command} | head -1")
        assert (done.returncode, done.stderr) == (141, ""), command
        assert len(done.stdout.splitlines()) == 1
    # `true` reads nothing, and has ended before the command writes.
    for command in ("dlq causes", "dlq stats", "dlq history", "dlq show 0:5", "variables"):
        done = run(environment, f"{command} | true")
        assert (done.returncode, done.stderr) == (141, ""), command


async def test_command_whose_messages_nobody_reads_ends_with_141(environment: Environment) -> None:
    assert run(environment, "dlq show 0:5 0:6 2>&1 | true").returncode == 141


def test_reader_that_reads_all_changes_no_exit_code(environment: Environment) -> None:
    done = run(environment, "dlq causes | cat")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["total"] == 0


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
