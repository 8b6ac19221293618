"""The local stack: both servers as their clients see them, and no process is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from clickhouse_driver import Client

from deploy.local.process import REPOSITORY, Process, ProcessFailedError
from deploy.local.stack import MigrationFailedError, Stack
from deploy.local.worker_process import WorkerProcess
from tests.support.local import Topics, exported_by, fresh_name, processes_naming, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deploy.local.broker import KafkaServer

    NewBroker = Callable[[Path], KafkaServer]


async def consume(bootstrap_servers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


# The broker


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_can_be_read_back(broker: KafkaServer, topics: Topics, compression: str | None) -> None:
    values = [f"value {number} {'x' * 200}".encode() for number in range(20)]
    producer = AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, compression_type=compression, acks="all", linger_ms=20
    )
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topics.events, value, partition=0) for value in values])
    finally:
        await producer.stop()

    assert await consume(broker.bootstrap_servers, topics.events, len(values)) == values


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


def test_killed_broker_restarts_on_the_same_port(new_broker: NewBroker, tmp_path: Path) -> None:
    with new_broker(tmp_path) as broker:
        address = broker.bootstrap_servers
        broker.kill()
        assert not broker.process.running
        broker.start()
        assert broker.bootstrap_servers == address


# Processes


def test_error_of_a_child_that_exits_early_has_its_output(tmp_path: Path) -> None:
    process = Process("child", [sys.executable, "-c", "print('out of luck')"], tmp_path / "log")

    with pytest.raises(ProcessFailedError, match="out of luck"):
        process.start(lambda _: None)
    assert not process.running


def test_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    name = fresh_name("child")
    process = Process("child", [sys.executable, "-c", "import time; time.sleep(600)", name], tmp_path / "log")

    with pytest.raises(ProcessFailedError, match=r"not ready in 0\.3 s"):
        process.start(lambda _: None, timeout_seconds=0.3)
    assert processes_naming(name) == []


def test_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    name = fresh_name("child")
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    process = Process("child", [sys.executable, "-c", program, name], tmp_path / "log")
    process.start(lambda output: "up" in output or None)

    process.stop(timeout_seconds=0.3)

    wait_until(lambda: processes_naming(name) == [], "the child is gone")


def test_a_child_whose_watchdog_is_killed_is_killed_too(tmp_path: Path) -> None:
    name = fresh_name("child")
    sleeper = "print('up', flush=True); import time; time.sleep(600)"
    process = Process("child", [sys.executable, "-c", sleeper, name], tmp_path / "log")
    process.start(lambda output: "up" in output or None)

    os.kill(process.pid, signal.SIGKILL)

    wait_until(lambda: processes_naming(name) == [], "the child is gone")
    process.kill()


# The stack


async def test_stack_runs_in_an_event_loop(new_broker: NewBroker, tmp_path: Path) -> None:
    async with Stack(tmp_path, broker=new_broker(tmp_path), partitions=2, database="elsewhere", migrate=False) as stack:
        environment = stack.environment()
        producer = AIOKafkaProducer(bootstrap_servers=environment["KAFKA_BOOTSTRAP_SERVERS"])
        await producer.start()
        try:
            assert await producer.partitions_for(environment["KAFKA_TOPIC"]) == {0, 1}
            assert await producer.partitions_for(environment["KAFKA_DLQ_TOPIC"]) == {0}
        finally:
            await producer.stop()
        with stack.engine.client(environment["CLICKHOUSE_DATABASE"]) as client:
            assert client.execute("SELECT currentDatabase()") == [("elsewhere",)]
    assert not stack.broker.process.running
    assert not stack.engine.process.running


def test_stack_that_cannot_migrate_leaves_nothing_running(tmp_path: Path) -> None:
    with Stack(tmp_path) as first, first.engine.client(first.database) as client:
        client.execute("TRUNCATE TABLE execution_metrics_migrations")
        client.execute(
            "INSERT INTO execution_metrics_migrations (name, checksum) VALUES",
            [("0001_execution_metrics.sql", "other")],
        )
    stack = Stack(tmp_path)

    with pytest.raises(MigrationFailedError, match=r"exit code 2\n.*was changed after it was applied"):
        stack.start()
    assert not stack.broker.process.running
    assert not stack.engine.process.running


def test_exported_settings_do_not_change_the_worker_of_the_stack(
    new_broker: NewBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "no such level")
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    with Stack(tmp_path, broker=new_broker(tmp_path)) as stack, WorkerProcess(tmp_path, stack.environment()) as worker:
        assert worker.pid


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
        *processes_naming(f"tcp://{environment['KAFKA_BOOTSTRAP_SERVERS']}"),
        *processes_naming(f"--port {environment['CLICKHOUSE_PORT']}"),
    ]


async def produce_and_consume(bootstrap_servers: str, topic: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"value")
    finally:
        await producer.stop()
    assert await consume(bootstrap_servers, topic, 1) == [b"value"]


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_up_exports_its_environment_and_leaves_nothing(
    up: subprocess.Popen[str], tmp_path: Path, stop_signal: signal.Signals
) -> None:
    environment = exported_by(up)

    assert set(environment) >= {"KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC", "KAFKA_DLQ_TOPIC", "CLICKHOUSE_PORT"}
    assert environment["KAFKA_PRODUCER_IDEMPOTENCE"] == "false"
    asyncio.run(produce_and_consume(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"]))
    with Client(
        environment["CLICKHOUSE_HOST"], int(environment["CLICKHOUSE_PORT"]), environment["CLICKHOUSE_DATABASE"]
    ) as client:
        assert client.execute("EXISTS TABLE execution_metrics") == [(1,)]
    assert len(server_processes(environment)) == 4  # each with its watchdog

    up.send_signal(stop_signal)

    assert up.wait(20) == 0
    assert server_processes(environment) == []
    assert list(tmp_path.iterdir()) == []


def test_killed_up_leaves_no_process(up: subprocess.Popen[str]) -> None:
    environment = exported_by(up)

    up.kill()

    wait_until(lambda: server_processes(environment) == [], "both servers are gone")
