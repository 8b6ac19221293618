"""The worker's commands as processes, and dead letters for them to work on."""

import json
import subprocess
import sys
from time import time
from typing import Any

from deploy.local.environment import environment_without_settings
from tests.support.forked_command import run_forked
from worker.core.model import Failed
from worker.dead_letters.dead_letter import WorkerInfo
from worker.dead_letters.record_format import encode_pointer
from worker.kafka.dead_letter_sink import KafkaDeadLetterSink
from worker.kafka.target import KafkaTarget
from worker.kafka.topic_producer import open_producer

Json = dict[str, Any]


class Commands:
    """Runs the worker's commands with the settings of a test's stack."""

    def __init__(self, environment: dict[str, str], timeout_seconds: float = 60.0) -> None:
        self.environment = environment
        self._timeout_seconds = timeout_seconds

    def run(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a process of its own, which forks from one that has imported it."""
        environment = environment_without_settings() | self.environment | changes
        return run_forked(arguments, environment, self._timeout_seconds)

    def run_in_new_python(self, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a shell would."""
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment_without_settings() | self.environment | changes,
            timeout=self._timeout_seconds,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *arguments],
            env=environment_without_settings() | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def json(self, *arguments: str, code: int = 0, **changes: str) -> list[Json]:
        """Run a command, check its exit code, and return the JSON lines on stdout."""
        done = self.run(*arguments, **changes)
        assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return [json.loads(line) for line in done.stdout.splitlines()]

    def replay(self, *arguments: str, code: int = 0, **changes: str) -> Json:
        """Replay, and return the report."""
        (report,) = self.json("replay", "--yes", *arguments, code=code, **changes)
        return report

    def count_open(self) -> int:
        """The number of open dead letters by `dlq stats`."""
        count: int = self.json("dlq", "stats")[0]["total"]
        return count


async def write_pointers(environment: dict[str, str], *failed: Failed) -> None:
    """Write dead letters as the worker does where the topic takes only small records."""
    worker = WorkerInfo("0.0.1", f"{environment['CLICKHOUSE_DATABASE']}.execution_metrics")
    target, topic = KafkaTarget(environment["KAFKA_BOOTSTRAP_SERVERS"]), environment["KAFKA_DLQ_TOPIC"]
    async with open_producer(target, topic, idempotent=False) as producer:
        for item in failed:
            letter = encode_pointer(item, worker, int(time() * 1000))
            await (await producer.send(letter.value, letter.key, headers=letter.headers))


async def write_dead_letters(environment: dict[str, str], *failed: Failed) -> None:
    """Write dead letters as the worker does."""
    worker = WorkerInfo("0.0.1", f"{environment['CLICKHOUSE_DATABASE']}.execution_metrics")
    target, topic = KafkaTarget(environment["KAFKA_BOOTSTRAP_SERVERS"]), environment["KAFKA_DLQ_TOPIC"]
    async with open_producer(target, topic, idempotent=False) as producer:
        outcomes = await KafkaDeadLetterSink(producer, worker, timeout_seconds=10.0).write(failed)
    assert not any(outcome.problem for outcome in outcomes)
