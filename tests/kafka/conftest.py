"""What only a real Apache Kafka can show. `make test-kafka` runs it, after the suites that every broker passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import environment, not_negative, start_worker
from tests.kafka.loaded import Loaded

if TYPE_CHECKING:
    from clickhouse_driver import Client

__all__ = ["environment", "not_negative", "start_worker"]  # fixtures


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fail rather than skip, when these tests are asked for with another broker."""
    if config.getoption("broker") != "kafka" and any("tests/kafka/" in item.nodeid for item in items):
        raise pytest.UsageError("tests/kafka needs Apache Kafka: use `make test-kafka`, or pytest --broker kafka")


@pytest.fixture
def loaded(environment: dict[str, str], clickhouse: Client) -> Loaded:
    """Puts events onto the test's topic, and says what has become of them."""
    return Loaded(environment, clickhouse)
