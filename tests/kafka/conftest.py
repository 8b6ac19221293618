"""What only a real Apache Kafka can show. `make test-kafka` runs it, with what else depends on the broker."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from clickhouse_driver import Client

from deploy.local.environment import environment_without_settings
from tests.integration.conftest import commands, environment, not_negative, start_worker
from tests.kafka.workload import Workload

RunCommand = Callable[..., subprocess.CompletedProcess[str]]

__all__ = ["commands", "environment", "not_negative", "start_worker"]  # fixtures

_COMMAND_SECONDS = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fail rather than skip when these tests are run with another broker."""
    if config.getoption("broker") != "kafka" and any("tests/kafka/" in item.nodeid for item in items):
        raise pytest.UsageError("tests/kafka needs Apache Kafka: use `make test-kafka`, or pytest --broker kafka")


@pytest.fixture
def workload(environment: dict[str, str], clickhouse: Client) -> Workload:
    """Sends events to the test's topic, and counts what has become of them."""
    return Workload(environment, clickhouse)


@pytest.fixture
def run_command(environment: dict[str, str]) -> RunCommand:
    """Runs `python -m worker COMMAND…` with changes to the environment."""

    def run(*command: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *command],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment_without_settings() | environment | changes,
            timeout=_COMMAND_SECONDS,
            check=False,
        )

    return run
