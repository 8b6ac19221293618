"""The example producers in `schemas/examples/producers` run unchanged, and their events become rows."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.environment import environment_without_settings
from deploy.local.process import REPOSITORY
from tests.integration.conftest import StartWorker
from tests.support.local import wait_until
from tests.support.topic import read

PRODUCERS = REPOSITORY / "schemas" / "examples" / "producers"
METRICS = {"execution_time_ms": 1840.0, "cost_usd": 0.0132, "result_success": 1.0}
LABELS = {"gen_ai.request.model": "large-2", "service.version": "2026.11.0"}
ROWS = """
SELECT metric_type, metric_value, agent_name, labels FROM execution_metrics_deduplicated WHERE execution_id = %(id)s
"""


def run(command: list[str], environment: dict[str, str], folder: Path | None = None) -> str:
    """Run a command of this repository; returns its output."""
    done = subprocess.run(  # noqa: S603
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(_: Path) -> list[str]:
    return [sys.executable, str(PRODUCERS / "python" / "producer.py")]


def go(folder: Path) -> list[str]:
    compiler = shutil.which("go")
    if compiler is None:
        pytest.skip("go is not installed: the producer in Go was not run")
    fetched = subprocess.run(  # noqa: S603
        [compiler, "mod", "download"], cwd=PRODUCERS / "go", capture_output=True, text=True, check=False
    )
    # A module that differs from go.sum is an error, not a reason to skip.
    assert "SECURITY ERROR" not in fetched.stderr, fetched.stderr
    if fetched.returncode:
        pytest.skip(f"the producer in Go was not run: its modules cannot be downloaded: {fetched.stderr[-300:]}")
    program = folder / "producer"
    run([compiler, "build", "-mod=readonly", "-o", str(program), "."], dict(os.environ), PRODUCERS / "go")
    return [str(program)]


def shell(_: Path) -> list[str]:
    return [str(PRODUCERS / "shell" / "producer.sh")]


@pytest.mark.timeout(600)  # Go fetches three modules the first time, and compiles them
@pytest.mark.parametrize("language", [python, go, shell])
async def test_event_of_an_example_producer_becomes_rows(
    environment: dict[str, str],
    start_worker: StartWorker,
    clickhouse: Client,
    tmp_path: Path,
    language: Callable[[Path], list[str]],
) -> None:
    path_with_metrics_worker = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = language(tmp_path)
    variables = environment_without_settings() | environment | {"PATH": path_with_metrics_worker}
    execution = run(command, variables).strip()
    (record,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    assert record.key == execution.encode()

    start_worker()
    wait_until(lambda: len(clickhouse.execute(ROWS, {"id": execution})) == len(METRICS), "a row for each metric")
    rows = clickhouse.execute(ROWS, {"id": execution})
    assert {name: value for name, value, *_ in rows} == METRICS
    assert all((agent, labels) == (f"example-{language.__name__}", LABELS) for _, _, agent, labels in rows)


@pytest.mark.parametrize("name", ["python/producer.py", "go/main.go", "shell/producer.sh"])
def test_documentation_contains_the_example_producers(name: str) -> None:
    text = (REPOSITORY / "schemas" / "README.md").read_text("utf-8")
    assert f"\n{(PRODUCERS / name).read_text('utf-8')}```\n" in text
