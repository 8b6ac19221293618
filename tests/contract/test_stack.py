"""The local stack: its servers work, and no process is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from clickhouse_driver import Client

from deploy.local.broker import KafkaServer
from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY, Process, ProcessFailedError
from deploy.local.stack import MigrationFailedError, Stack
from tests.support.local import Topics, find_processes, fresh_name, parse_exports, wait_until
from tests.support.topic import read, send

StartChild = Callable[..., Process]


async def test_idempotent_producer(broker: KafkaServer, topics: Topics, request: pytest.FixtureRequest) -> None:
    if not broker.idempotence:
        request.applymarker(pytest.mark.xfail(strict=True, reason="Tansu has none: see deploy/local/README.md"))
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, enable_idempotence=True, request_timeout_ms=2000
    )
    try:
        async with asyncio.timeout(10):
            await producer.start()
            await producer.send_and_wait(topics.events, b"value")
    finally:
        await producer.stop()


def test_killed_broker_restarts_on_the_same_port(new_broker: Callable[[Path], KafkaServer], tmp_path: Path) -> None:
    with new_broker(tmp_path) as broker:
        address = broker.bootstrap_servers
        broker.kill()
        assert not broker.process.running
        broker.start()
        assert broker.bootstrap_servers == address


# Processes


@pytest.fixture
def child_name() -> str:
    """An argument of a child's command, by which the child and its watchdog are found."""
    return fresh_name("child")


@pytest.fixture
def start_child(tmp_path: Path, child_name: str) -> StartChild:
    """Starts a child that runs Python code, and waits until it has printed "up"."""

    def start(code: str, timeout_seconds: float = 30) -> Process:
        process = Process("child", [sys.executable, "-c", code, child_name], tmp_path / "log")
        process.start(lambda output: "up" in output or None, timeout_seconds)
        return process

    return start


@pytest.mark.parametrize(
    ("code", "seconds", "message"),
    [
        ("print('no port')", 30, "ended before it was ready\nno port"),
        ("import time; time.sleep(600)", 0.3, r"not ready in 0\.3 s"),
    ],
    ids=["ended", "not ready in time"],
)
def test_child_that_does_not_become_ready_is_an_error_and_killed(
    start_child: StartChild, child_name: str, code: str, seconds: float, message: str
) -> None:
    with pytest.raises(ProcessFailedError, match=message):
        start_child(code, seconds)
    assert find_processes(child_name) == []


def test_child_that_ignores_sigterm_is_killed(start_child: StartChild, child_name: str) -> None:
    process = start_child(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process.stop(timeout_seconds=0.3)
    wait_until(lambda: find_processes(child_name) == [], "the child has ended")


def test_child_is_killed_with_its_watchdog(start_child: StartChild, child_name: str) -> None:
    process = start_child("print('up', flush=True); import time; time.sleep(600)")
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: find_processes(child_name) == [], "the child has ended")
    process.kill()


# The stack


def test_stack_that_cannot_migrate_leaves_nothing_running(tmp_path: Path) -> None:
    with Stack(tmp_path) as first, first.engine.client(first.database) as client:
        client.execute(
            "ALTER TABLE execution_metrics_migrations UPDATE checksum = 'x' WHERE 1 SETTINGS mutations_sync = 2"
        )
    stack = Stack(tmp_path)
    with pytest.raises(MigrationFailedError, match=r"exit code 2\n.*was changed after it was applied"):
        stack.start()
    assert not stack.broker.process.running
    assert not stack.engine.process.running


def test_exported_settings_do_not_reach_processes_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CLICKHOUSE_PASSWORD_FILE", "/run/secrets/clickhouse")
    kept = environment_without_settings()
    assert "PATH" in kept
    assert not {"KAFKA_SECURITY_PROTOCOL", "CLICKHOUSE_PASSWORD_FILE"} & set(kept)


# The command


@pytest.fixture
def up(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`python -m deploy.local up`, its temporary files under the test's folder."""
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "up"],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as process:
        yield process
        process.kill()


def server_processes(environment: dict[str, str]) -> list[str]:
    return [
        *find_processes(f"tcp://{environment['KAFKA_BOOTSTRAP_SERVERS']}"),
        *find_processes(f"--port {environment['CLICKHOUSE_PORT']}"),
    ]


def test_up_exports_its_environment_and_leaves_nothing(up: subprocess.Popen[str], tmp_path: Path) -> None:
    environment = parse_exports(up)
    servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"]
    assert environment["KAFKA_PRODUCER_IDEMPOTENCE"] == "false"
    asyncio.run(send(servers, topic, [b"value"]))
    assert [record.value for record in asyncio.run(read(servers, topic, 1))] == [b"value"]
    with Client(
        environment["CLICKHOUSE_HOST"], int(environment["CLICKHOUSE_PORT"]), environment["CLICKHOUSE_DATABASE"]
    ) as client:
        assert client.execute("EXISTS TABLE execution_metrics") == [(1,)]
    assert len(server_processes(environment)) == 4  # each with its watchdog

    up.send_signal(signal.SIGTERM)

    assert up.wait(20) == 0
    assert server_processes(environment) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_up_leaves_no_process(up: subprocess.Popen[str]) -> None:
    environment = parse_exports(up)
    up.kill()
    wait_until(lambda: server_processes(environment) == [], "both servers have ended")
