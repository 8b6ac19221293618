"""What a running worker tells of itself, beside a real broker and the real engine."""

import time
from importlib.metadata import version
from uuid import uuid4

import pytest

from tests.integration.conftest import StartWorker
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import send


@pytest.mark.usefixtures("not_negative")
async def test_the_books_of_a_running_worker_balance(environment: dict[str, str], start_worker: StartWorker) -> None:
    began = time.time()
    worker = start_worker()
    values = [encoded(event(execution_id=str(uuid4()), metrics={"a": 1, "b": -1, "c": "text"})) for _ in range(20)]
    await send(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], [*values, b"garbage", None])

    wait_until(lambda: worker.telemetry()["metrics_worker_end_to_end_seconds_count"][()] == 22, "all are settled")
    told = worker.telemetry()
    topic = environment["KAFKA_TOPIC"]

    def one(name: str, *labels: str) -> float:  # labels in the order of their names
        return told[f"metrics_worker_{name}"][labels]

    assert (one("events_total"), one("metrics_total"), one("tombstones_total")) == (20, 60, 1)
    assert one("rows_written_total") == 20
    assert told["metrics_worker_metrics_skipped_total"] == {("string",): 20}
    assert one("dead_letters_total", "row_refused", "metric") == 20
    assert one("dead_letters_total", "invalid_event", "event") == 1
    assert one("splits_total", "refused") >= 1
    assert told["metrics_worker_inserts_total"]["469", "RowRefused"] >= 1
    assert sum(told["metrics_worker_inserts_total"].values()) == one("insert_seconds_count") == one("insert_rows_count")
    assert one("assigned_partitions") == 4
    assert one("last_progress_timestamp_seconds") > began
    assert one("last_batch_timestamp_seconds") > began
    assert began - 60 < told["process_start_time_seconds"][()] < time.time()
    assert {labels[1] for labels in told["metrics_worker_build_info"]} == {version("execution-metrics-worker")}
    wait_until(
        lambda: (
            sum(worker.telemetry()["metrics_worker_lag_records"][str(number), topic] for number in range(4)) == 0
            and worker.telemetry()["metrics_worker_commits_total"][()] >= 1
        ),
        "all is committed",
    )
    assert set(worker.telemetry()["metrics_worker_lag_seconds"].values()) == {0.0}
