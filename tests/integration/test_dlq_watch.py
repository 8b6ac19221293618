"""The open dead letters as telemetry: the command as a process, as Prometheus and Kubernetes see it."""

import json
import signal
from time import time
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from deploy.local.process import LOOPBACK, free_port
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import Environment, StartService
from tests.support.commands import Commands
from tests.support.local import wait_until
from worker.core.errors import ErrorClass

pytestmark = pytest.mark.any_broker
SECONDS = 40.0
"""The watch looks every 15 seconds whether the topic has changed."""


def open_by_cause(watch: WorkerProcess) -> dict[str, float]:
    """The number of open dead letters by cause; a cause without any is left out."""
    found = watch.telemetry().get("metrics_worker_dead_letters_open", {})
    return {cause: number for (cause, _), number in found.items() if number}


@pytest.mark.usefixtures("three_dead_letters")
async def test_gauges_follow_the_dead_letters_and_what_becomes_of_them(
    commands: Commands, start_service: StartService
) -> None:
    began = time()
    causes = {each["cause"]: each["count"] for each in commands.json("dlq", "causes")[0]["causes"]}
    watch = start_service("dlq", "watch")
    wait_until(lambda: not watch.readiness(), "the topic is scanned", SECONDS)
    assert open_by_cause(watch) == causes
    assert len(causes) == 3
    telemetry = watch.telemetry()
    first_seen = telemetry["metrics_worker_dead_letters_cause_first_seen_timestamp_seconds"]
    assert {cause for cause, _ in first_seen} == causes.keys()
    assert all(began - 1 < at < time() + 1 for at in first_seen.values())
    assert telemetry["metrics_worker_dead_letters_open_oldest_timestamp_seconds"][()] == min(first_seen.values())
    checked = telemetry["metrics_worker_dead_letters_last_check_timestamp_seconds"][()]
    assert began < checked < time()

    commands.json("dlq", "discard", "--error-class", "row_refused", "--reason", "wrong unit", "--yes")
    assert commands.replay()["metrics_written"] == 1
    wait_until(lambda: not open_by_cause(watch), "what is settled does not count", SECONDS)
    open_by_class = watch.telemetry()["metrics_worker_dead_letters_open"]
    assert {error_class for _, error_class in open_by_class} == {*ErrorClass, "foreign"}, "so that a sum of none is 0"


def test_watch_starts_while_kafka_is_away_is_not_ready_and_ends_at_once(
    environment: Environment, commands: Commands
) -> None:
    port = free_port()
    environment |= {
        "HTTP_HOST": LOOPBACK,
        "HTTP_PORT": str(port),
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}",
    }
    process = commands.start("dlq", "watch")
    try:
        wait_until(lambda: "cannot be reached" in get(port, "readyz")[1], "the reason", SECONDS)
        assert get(port, "readyz")[0] == 503
        assert json.loads(get(port, "readyz")[1])["reasons"].keys() == {"kafka"}
        assert (get(port, "livez")[0], get(port, "")[0]) == (200, 404)
        _, metrics = get(port, "metrics")
        assert "metrics_worker_dead_letters_last_check_timestamp_seconds 0.0" in metrics
        assert "metrics_worker_dead_letters_open{" not in metrics
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_watch_does_not_start_with_a_port_that_is_taken(commands: Commands, start_service: StartService) -> None:
    taken = start_service("dlq", "watch").http_port
    done = commands.run("dlq", "watch", HTTP_HOST=LOOPBACK, HTTP_PORT=str(taken))
    assert done.returncode == 2
    assert f"HTTP_PORT={taken}" in done.stderr


def get(port: int, path: str) -> tuple[int, str]:
    """The status and the text of a page; 0 and nothing before the server listens."""
    try:
        with urlopen(f"http://{LOOPBACK}:{port}/{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()
    except URLError:
        return 0, ""
