"""Metrics, logs and spans of a worker, with a real broker and the real engine."""

import json
import socket
import threading
import time
from gzip import decompress as gunzip
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from deploy.local.process import LOOPBACK
from tests.integration.conftest import StartWorker, events, produce, read_dead_letters
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import headers_of


@pytest.mark.usefixtures("not_negative")
async def test_counters_of_the_worker_agree_with_each_other(
    environment: dict[str, str], start_worker: StartWorker
) -> None:
    began = time.time()
    worker = start_worker()
    values = events(20, metrics={"a": 1, "b": -1, "c": "text"})
    await produce(environment, *values, b"garbage", None)

    wait_until(lambda: worker.telemetry()["metrics_worker_end_to_end_seconds_count"][()] == 22, "all are settled")
    telemetry = worker.telemetry()
    topic = environment["KAFKA_TOPIC"]

    def one(name: str, *labels: str) -> float:  # labels in the order of their names
        return telemetry[f"metrics_worker_{name}"][labels]

    assert (one("events_total"), one("metrics_total"), one("tombstones_total")) == (20, 60, 1)
    assert one("rows_written_total") == 20
    assert telemetry["metrics_worker_metrics_skipped_total"] == {("string",): 20}
    assert one("dead_letters_total", "row_refused", "metric") == 20
    assert one("dead_letters_total", "invalid_event", "event") == 1
    assert one("splits_total", "refused") >= 1
    assert telemetry["metrics_worker_inserts_total"]["469", "refused"] >= 1
    assert (
        sum(telemetry["metrics_worker_inserts_total"].values())
        == one("insert_seconds_count")
        == one("insert_rows_count")
    )
    assert one("assigned_partitions") == 4
    assert one("last_progress_timestamp_seconds") > began
    assert one("last_batch_timestamp_seconds") > began
    assert began - 60 < telemetry["process_start_time_seconds"][()] < time.time()
    assert {labels[1] for labels in telemetry["metrics_worker_build_info"]} == {version("execution-metrics-worker")}
    wait_until(
        lambda: (
            sum(worker.telemetry()["metrics_worker_lag_records"][str(number), topic] for number in range(4)) == 0
            and worker.telemetry()["metrics_worker_commits_total"][()] >= 1
        ),
        "all is committed",
    )
    assert set(worker.telemetry()["metrics_worker_lag_seconds"].values()) == {0.0}


@pytest.mark.any_broker
async def test_20_000_failures_are_few_log_lines_whose_sum_is_right(
    environment: dict[str, str], start_worker: StartWorker
) -> None:
    worker = start_worker()
    metrics = {f"m{number}": float("nan") for number in range(1_000)}
    await produce(environment, *events(20, user_id="alice-7", metrics=metrics))
    wait_until(
        lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) == 20_000, "all are letters", 60
    )
    worker.stop()  # which logs the summary of what was withheld
    lines = [json.loads(line) for line in worker.process.output().splitlines() if line.startswith("{")]
    logged = [line for line in lines if line["event"] == "dead letter"]
    withheld = sum(line["withheld"] for line in lines if line["event"] == "repeated" and line["of"] == "dead letter")
    assert len(logged) + withheld == 20_000
    assert len(lines) < 2_000
    assert all(line["metric"].startswith("m") and line["execution_id"] for line in logged)
    assert "alice-7" not in worker.process.output()


class Collector(BaseHTTPRequestHandler):
    """Receives spans and metrics by OTLP; keeps the names of spans, and of metrics the last numbers."""

    spans: ClassVar[list[str]] = []
    numbers: ClassVar[dict[str, float]] = {}

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        body = gunzip(body) if self.headers["Content-Encoding"] else body
        if self.path == "/v1/traces":
            for traced in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans.extend(span.name for scope in traced.scope_spans for span in scope.spans)
        else:
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in measured.scope_metrics:
                    self.numbers.update(
                        {
                            metric.name: sum(point.as_double for point in metric.sum.data_points)
                            for metric in scope.metrics
                        }
                    )
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the signature of the base class
        pass


@pytest.mark.any_broker
async def test_spans_and_metrics_are_exported_and_dead_letters_name_their_trace(
    environment: dict[str, str], start_worker: StartWorker
) -> None:
    collector = ThreadingHTTPServer((LOOPBACK, 0), Collector)
    serving = threading.Thread(target=collector.serve_forever)
    serving.start()
    try:
        endpoint = f"http://{LOOPBACK}:{collector.server_port}"
        worker = start_worker(TRACING_ENABLED="true", OTLP_METRICS_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        await produce(environment, encoded(event()), b"garbage")
        (letter,) = await read_dead_letters(environment, 1)
        wait_until(lambda: worker.telemetry()["metrics_worker_commits_total"][()] > 0, "a commit")
        worker.stop()  # which exports the last spans and numbers
        assert {"poll", "batch", "write", "dead-letter", "commit"} <= set(Collector.spans)
        assert headers_of(letter)["traceparent"].startswith("00-")
        names = ("events_total", "dead_letters_total", "commits_total")
        assert [Collector.numbers[f"metrics_worker_{name}"] >= 1 for name in names] == [True] * 3
    finally:
        collector.shutdown()
        collector.server_close()
        serving.join()


@pytest.mark.any_broker
async def test_hanging_collector_does_not_delay_a_stop(environment: dict[str, str], start_worker: StartWorker) -> None:
    with socket.create_server((LOOPBACK, 0), backlog=100) as hanging:
        endpoint = f"http://{LOOPBACK}:{hanging.getsockname()[1]}"
        worker = start_worker(TRACING_ENABLED="true", OTLP_METRICS_ENABLED="true", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        await produce(environment, encoded(event()))
        wait_until(lambda: worker.telemetry()["metrics_worker_commits_total"][()] > 0, "a commit")
        worker.stop()
    for what in ("spans", "metrics"):
        assert f"the last {what} were not exported in time" in worker.process.output()
