"""The local stack on Apache Kafka keeps its topics."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.process import REPOSITORY
from deploy.local.stack import Stack
from tests.support.local import find_processes, parse_exports, wait_until
from tests.support.topic import read, send


def test_restarted_stack_has_its_topics(tmp_path: Path) -> None:
    values = [b"first", b"second"]
    for number, value in enumerate(values):
        with Stack(tmp_path, broker=ApacheKafka(tmp_path)) as stack:
            environment = stack.environment()
            assert environment["KAFKA_PRODUCER_IDEMPOTENCE"] == "true"
            servers, topic = environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"]
            asyncio.run(send(servers, topic, [value], partition=0))
            found = asyncio.run(read(servers, topic, number + 1))
            assert [record.value for record in found] == values[: number + 1]


def test_demo_loses_and_duplicates_nothing(tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "deploy.local", "demo", "--broker", "kafka", "--count", "2000", "--json"],
        capture_output=True,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    books = json.loads(finished.stdout)
    assert books["events"] == 2000
    assert (books["lost"], books["duplicates"], books["wrong"], books["uncommitted"]) == (0, 0, 0, 0)


def test_up_runs_it_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "up", "--broker", "kafka"],
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    ) as up:
        try:
            environment = parse_exports(up)
            asyncio.run(send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], [b"value"]))
            assert find_processes(f"{tmp_path}") != []
            up.send_signal(signal.SIGTERM)
            assert up.wait(30) == 0
        finally:
            up.kill()
    wait_until(lambda: find_processes(f"{tmp_path}") == [], "every process is gone")
    assert list(tmp_path.iterdir()) == []
