"""The console as a process: what a browser sees of a real topic, and of what the commands do to it."""

import signal
from pathlib import Path

import httpx
import pytest

from deploy.local.process import LOOPBACK, free_port
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import Environment, StartService, StartWorker, events, produce
from tests.support.commands import Commands
from tests.support.console import parse_page, texts
from tests.support.local import wait_until

SECONDS = 40.0
"""The console looks every 15 seconds whether the topic has changed."""


def get(console: WorkerProcess, path: str = "/") -> str:
    """The text of a page."""
    return texts(parse_page(httpx.get(f"http://{LOOPBACK}:{console.http_port}{path}", timeout=20).text))


@pytest.mark.usefixtures("three_dead_letters")
async def test_pages_follow_the_topic_and_what_commands_settle(
    environment: Environment, commands: Commands, start_service: StartService, start_worker: StartWorker
) -> None:
    worker = start_worker()
    await produce(environment, *events(3))
    wait_until(lambda: not worker.readiness(), "the worker is ready", SECONDS)
    environment["CONSOLE_WORKERS_URL"] = f"http://{LOOPBACK}:{worker.http_port}"
    console = start_service("console")
    wait_until(lambda: "Causes, the latest first" in get(console), "the topic is scanned", SECONDS)
    page = get(console)
    assert "open 3" in page
    assert f"{LOOPBACK}:{worker.http_port} consumes" in page
    assert "it is violated" in page
    (cause,) = {each["cause"] for each in commands.json("dlq", "causes", "--metric", "a")[0]["causes"]}
    assert "row_refused VIOLATED_CONSTRAINT (469), metric a" in get(console, f"/causes/{cause}")
    (letter,) = commands.json("dlq", "list", "--cause", cause)
    assert f"metrics-worker replay --partition {letter['place'].replace(':', ' --offset ')}" in get(
        console, f"/letters/{letter['place']}"
    )
    wait_until(
        lambda: "nothing committed yet" not in get(console).partition("The group")[2], "the lag is known", SECONDS
    )

    commands.json("dlq", "discard", "--cause", cause, "--reason", "wrong unit", "--yes")
    wait_until(lambda: "open 2" in get(console), "the discarded one is gone", SECONDS)
    assert "wrong unit" in get(console, "/history")
    assert "Settled. Discarded by" in get(console, f"/letters/{letter['place']}")
    assert "Not here" in get(console, f"/causes/{cause}")
    assert commands.replay("--error-class", "store_unavailable")["metrics_written"] == 1
    wait_until(lambda: "open 1" in get(console), "the replayed one is gone", SECONDS)


@pytest.mark.any_broker
def test_console_starts_while_kafka_is_away_says_so_and_ends_at_once(
    environment: Environment, commands: Commands
) -> None:
    port = free_port()
    environment |= {"CONSOLE_PORT": str(port), "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{free_port()}"}
    process = commands.start("console")

    def read() -> str:
        try:
            answer = httpx.get(f"http://localhost:{port}/", timeout=20)
        except httpx.ConnectError:
            return ""
        assert answer.status_code == 503
        return answer.text

    try:
        wait_until(lambda: "Kafka cannot be reached" in read(), "the reason", SECONDS)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.any_broker
@pytest.mark.parametrize("host", ["0.0.0.0", "console.example"])  # noqa: S104
def test_console_refuses_to_be_reached_from_elsewhere(commands: Commands, host: str) -> None:
    done = commands.run("console", CONSOLE_HOST=host)
    assert done.returncode == 2
    assert f"CONSOLE_HOST={host} is not loopback" in done.stderr


@pytest.mark.any_broker
def test_port_that_is_taken_is_named(commands: Commands, start_service: StartService) -> None:
    taken = start_service("console").http_port
    done = commands.run("console", CONSOLE_PORT=str(taken))
    assert done.returncode == 2
    assert f"CONSOLE_PORT={taken}" in done.stderr


@pytest.mark.any_broker
def test_missing_extra_is_named(commands: Commands, tmp_path: Path) -> None:
    """The modules are not found where another `sitecustomize` hides them."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'starlette' else find(name, *more)\n"
    )
    done = commands.run_in_new_python("console", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install 'execution-metrics-worker[console]'" in done.stderr
