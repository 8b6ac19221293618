"""`metrics-worker plan` without servers: what is missing is named, and wrong usage is an error."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from deploy.local.process import free_port
from tests.support.events import encoded, event
from worker.cli import cli
from worker.core.errors import DependencyError

LINES = b"\n".join(encoded(event(execution_id=str(UUID(int=number)))) for number in range(20))


@pytest.fixture(autouse=True)
def restored_garbage_collection() -> Iterator[None]:
    """The command changes the garbage collector of its process, which here is that of all tests."""
    threshold = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*threshold)


def run(*arguments: str, lines: bytes = LINES, **environment: str) -> Result:
    return CliRunner().invoke(cli, ["plan", *arguments], input=lines, env={"EVENT_MAX_AGE_DAYS": "0"} | environment)


def document(*arguments: str, **environment: str) -> dict[str, Any]:
    result = run(*arguments, lines=LINES, **environment)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_file_and_rate_need_no_server_and_missing_parts_are_named() -> None:
    found = document("-", "--rate", "1000")
    assert found["measured"]["records"] == 20
    assert found["costs"]["rows"] == 2
    assert found["plan"]["workers"] == 2
    inputs = found["inputs"]
    assert inputs["events_per_second"] == {"value": 1_000, "source": "--rate"}
    assert inputs["partitions"] == inputs["lag"] == {"value": None, "source": "KAFKA_BOOTSTRAP_SERVERS is not set"}
    assert inputs["window"]["source"] == "assumed, as `migrate` sets it: CLICKHOUSE_HOST is not set"
    assert inputs["bytes_per_row"]["source"] == "assumed, the most that was measured: CLICKHOUSE_HOST is not set"


def test_options_replace_what_kafka_would_tell() -> None:
    servers = f"127.0.0.1:{free_port()}"
    found = document("-", "--rate", "9", "--partitions", "3", "--lag", "7", KAFKA_BOOTSTRAP_SERVERS=servers)
    assert [found["inputs"][name]["value"] for name in ("events_per_second", "partitions", "lag")] == [9, 3, 7]
    assert found["inputs"]["lag"]["source"] == "--lag"


def test_unreachable_servers_are_named_where_file_and_rate_are_given() -> None:
    port = str(free_port())
    found = document(
        "-",
        "--rate",
        "9",
        KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}",
        CLICKHOUSE_HOST="127.0.0.1",
        CLICKHOUSE_PORT=port,
        CLICKHOUSE_PASSWORD="hunter2",  # noqa: S106 - of a test
    )
    assert "Kafka cannot be reached" in found["inputs"]["lag"]["source"]
    assert "assumed, as `migrate` sets it: " in found["inputs"]["window"]["source"]
    assert "hunter2" not in json.dumps(found)


def test_unreachable_kafka_is_an_error_where_the_rate_is_needed() -> None:
    result = run("-", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert isinstance(result.exception, DependencyError)


def test_rate_is_needed_where_kafka_is_not_set() -> None:
    result = run("-")
    assert result.exit_code == 2
    assert "the rate is not known (KAFKA_BOOTSTRAP_SERVERS is not set): set --rate" in result.stderr


def test_kafka_is_needed_without_a_file() -> None:
    result = run("--rate", "5")
    assert "KAFKA_BOOTSTRAP_SERVERS" in str(result.exception)


def test_empty_file_is_wrong_usage(tmp_path: Path) -> None:
    file = tmp_path / "a\x1bb.jsonl"
    file.write_bytes(b"\n \n")
    result = run(str(file), "--rate", "5")
    assert result.exit_code == 2
    assert "there are no events to measure" in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize("rate", ["-1", "nan", "inf", "1e12"])
def test_rate_is_a_number_of_events(rate: str) -> None:
    assert run("-", f"--rate={rate}").exit_code == 2


def test_lines_may_be_structured_cloudevents() -> None:
    envelope = {"specversion": "1.0", "type": "t", "source": "/s", "id": "1", "data": event()}
    result = run("-", "--rate", "5", "--cloudevents", lines=encoded(envelope))
    assert json.loads(result.stdout)["costs"]["rows"] == 2
