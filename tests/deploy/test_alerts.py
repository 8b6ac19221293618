"""A real Prometheus scrapes a real worker: each alert fires in its situation, and only then.

The rules run thirty times quicker (see `deploy.checks.rules.accelerate_rules`). The alerts on series of
kube-state-metrics need a cluster; `promtool test rules` has them.
"""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.checks import rules
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import KafkaServer
from deploy.local.demo.worker_progress import wait_until_ready
from deploy.local.process import free_port
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.deploy.scraping import SPEED_UP, Prometheus
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import commit, delete_records, send

pytestmark = pytest.mark.timeout(400)
DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy/grafana/metrics-worker.json").read_text("utf-8"))
SECONDS = 120.0
END_OF_LOG = -1
CLEAN_SECONDS = 2 * 300 // SPEED_UP
"""As long as the slowest alert needs: five minutes of lag, for five minutes."""
# For `sitecustomize`: SIGUSR1 blocks the main thread, and with it the event loop; the HTTP threads still answer.
BLOCK_MAIN_THREAD = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"


class Deployment:
    """Broker, engine, one worker and Prometheus; a test may break any of them."""

    def __init__(self, directory: Path, program: Path, broker: KafkaServer | None = None) -> None:
        self.stack = Stack(directory, broker=broker)
        self.prometheus = Prometheus(program, directory)
        self.directory = directory
        self.open = ExitStack()

    def __enter__(self) -> "Deployment":
        self.stack.start()
        self.open.callback(self.stack.stop)
        environment = {
            **self.stack.environment(),
            "HTTP_PORT": str(free_port()),  # fixed, so that it is the same after a restart
            "CLICKHOUSE_TIMEOUT_SECONDS": "100",
            "KAFKA_REBALANCE_TIMEOUT_SECONDS": "200",
            "RETRY_ATTEMPTS": "2",
            "RETRY_MAX_SECONDS": "1",
            "ON_UNAVAILABLE": "hold",
            "EVENT_MAX_AGE_DAYS": "0",  # the events have fixed times, and their records the time of the test
        }
        self.worker = WorkerProcess(self.directory, environment)
        self.open.callback(self.worker.process.kill)
        self.worker.start()
        wait_until_ready(self.worker)
        self.open.callback(self.prometheus.process.kill)
        self.prometheus.start()
        self.prometheus.scrape([self.worker.http_port])
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def send(self, count: int, **metrics: float) -> None:
        values = [encoded(event(execution_id=str(uuid4()), metrics=metrics)) for _ in range(count)]
        asyncio.run(send(self.stack.broker.bootstrap_servers, self.stack.topic, values))

    def rows_written(self) -> float:
        return self.worker.telemetry()["metrics_worker_rows_written_total"][()]

    def wait_for(self, alert: str) -> None:
        wait_until(lambda: alert in self.prometheus.firing(), f"{alert} fires", SECONDS)

    def wait_until_none_fires(self) -> None:
        wait_until(lambda: not self.prometheus.firing(), "no alert fires", SECONDS)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, prometheus_program: Path) -> Iterator[Deployment]:
    with Deployment(tmp_path_factory.mktemp("deployment"), prometheus_program) as deployment:
        yield deployment


def test_no_alert_fires_in_normal_operation(deployment: Deployment) -> None:
    prometheus = deployment.prometheus
    wait_until(lambda: bool(prometheus.query('up{job="metrics-worker"} == 1')), "the worker is scraped", SECONDS)
    deployment.wait_until_none_fires()  # before the first scrape there was no worker
    began = time.monotonic()
    while time.monotonic() - began < CLEAN_SECONDS:
        before = deployment.rows_written()
        deployment.send(50, a=1.0, b=2.0)
        wait_until(lambda before=before: deployment.rows_written() >= before + 100, "the rows are written", SECONDS)  # type: ignore[misc]
    assert prometheus.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{CLEAN_SECONDS}s])') == []
    assert prometheus.query("sum(metrics_worker_rows_written_total) >= 100")


def test_dead_letters_alert(deployment: Deployment) -> None:
    with deployment.stack.engine.client(deployment.stack.database) as client:
        client.execute("ALTER TABLE execution_metrics ADD CONSTRAINT not_negative CHECK metric_value >= 0")
        deployment.send(200, good=1.0, bad=-1.0)
        deployment.wait_for("MetricsWorkerDeadLetters")
        client.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert deployment.prometheus.firing() == {"MetricsWorkerDeadLetters"}
    deployment.wait_until_none_fires()


def test_many_months_alert(deployment: Deployment) -> None:
    def is_firing() -> bool:
        times = [f"2025-{month:02}-15T12:00:00Z" for month in range(1, 13)]
        values = [encoded(event(execution_id=str(uuid4()), metrics={"a": 1}, completed_at=time)) for time in times]
        asyncio.run(send(deployment.stack.broker.bootstrap_servers, deployment.stack.topic, values))
        return "MetricsWorkerManyMonths" in deployment.prometheus.firing()

    wait_until(is_firing, "many months", SECONDS)
    deployment.wait_for("MetricsWorkerManyMonths")
    assert deployment.prometheus.firing() == {"MetricsWorkerManyMonths"}
    deployment.wait_until_none_fires()


def test_many_inserts_alert(deployment: Deployment) -> None:
    """A constraint that cannot be evaluated, so that the invalid rows are isolated by INSERTs."""

    def is_firing() -> bool:
        deployment.send(50, good=1.0, bad=-1.0)
        return "MetricsWorkerManyInserts" in deployment.prometheus.firing()

    with deployment.stack.engine.client(deployment.stack.database) as client:
        client.execute("ALTER TABLE execution_metrics ADD CONSTRAINT rule CHECK metric_value >= 0 OR ingested_at < 0")
        wait_until(is_firing, "many inserts", SECONDS)
        deployment.wait_for("MetricsWorkerManyInserts")
        client.execute("ALTER TABLE execution_metrics DROP CONSTRAINT rule")
    deployment.wait_until_none_fires()


def test_stopped_clickhouse_alerts_holding_and_lagging(deployment: Deployment) -> None:
    deployment.stack.engine.process.kill()
    deployment.send(10, a=1.0)
    deployment.wait_for("MetricsWorkerHolding")
    deployment.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerNoProgress" not in deployment.prometheus.firing()
    assert "MetricsWorkerStuck" not in deployment.prometheus.firing()
    deployment.stack.engine.start()
    deployment.wait_until_none_fires()


def test_silent_clickhouse_alerts_no_progress_and_lagging(deployment: Deployment) -> None:
    deployment.stack.engine.process.pause()
    deployment.send(10, a=1.0)
    deployment.wait_for("MetricsWorkerNoProgress")
    deployment.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerHolding" not in deployment.prometheus.firing()
    deployment.stack.engine.process.resume()
    deployment.wait_until_none_fires()


def test_old_unanswered_insert_alerts_deduplication_at_risk(deployment: Deployment) -> None:
    deployment.stack.engine.process.pause()
    deployment.send(10, a=1.0)
    wait_until(lambda: lag(deployment) > 0, "the insert is under way", SECONDS)
    deployment.stack.engine.process.kill()
    deployment.wait_for("MetricsWorkerDeduplicationAtRisk")
    deployment.stack.engine.start()
    deployment.wait_until_none_fires()


def lag(deployment: Deployment) -> float:
    return max(deployment.worker.telemetry()["metrics_worker_lag_seconds"].values(), default=0.0)


def test_every_panel_of_the_dashboard_has_data(deployment: Deployment) -> None:
    asyncio.run(
        send(
            deployment.stack.broker.bootstrap_servers,
            deployment.stack.topic,
            [encoded(event(metrics={"text": "skipped"}))],
        )
    )
    skipped = 'metrics_worker_metrics_skipped_total{json_type="string"}'
    wait_until(
        lambda: bool(deployment.prometheus.query(f"rate({skipped}[5s])")), "the skipped metric is scraped", SECONDS
    )
    without_data = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5s").replace("$namespace", ".*")
            if not deployment.prometheus.query(query):
                without_data.append(f"{panel['title']}: {query}")
    assert without_data == []


def test_blocked_event_loop_alerts_stuck(deployment: Deployment, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK_MAIN_THREAD)
    deployment.worker.process.kill()
    deployment.worker.process.update_environment(PYTHONPATH=str(tmp_path))
    deployment.worker.start()
    wait_until_ready(deployment.worker)
    deployment.wait_until_none_fires()
    os.kill(deployment.worker.pid, signal.SIGUSR1)
    deployment.wait_for("MetricsWorkerStuck")
    assert "MetricsWorkerAbsent" not in deployment.prometheus.firing()
    deployment.worker.process.kill()
    deployment.worker.start()
    wait_until_ready(deployment.worker)
    deployment.wait_until_none_fires()


def test_stopped_worker_alerts_absent(deployment: Deployment) -> None:
    os.kill(deployment.worker.pid, signal.SIGSTOP)
    deployment.wait_for("MetricsWorkerAbsent")
    os.kill(deployment.worker.pid, signal.SIGCONT)
    deployment.wait_until_none_fires()


def test_restarts_alert(deployment: Deployment) -> None:
    # The last test: the window of this rule is not accelerated, so it continues to fire.
    for _ in range(3):
        deployment.worker.process.kill()
        deployment.worker.start()
        here = f"process_start_time_seconds{{job='metrics-worker'}} > {scene_start(deployment) - 0.5}"
        wait_until(lambda here=here: bool(deployment.prometheus.query(here)), "the new start is scraped", SECONDS)  # type: ignore[misc]
    deployment.wait_for("MetricsWorkerRestarting")


def scene_start(deployment: Deployment) -> float:
    return deployment.worker.telemetry()["process_start_time_seconds"][()]


def test_retention_that_nears_expired_records_and_replaced_logs_alert(tmp_path: Path, prometheus_program: Path) -> None:
    broker = ApacheKafka(
        tmp_path, settings={"log.retention.ms": "60000"}
    )  # Tansu has neither retention nor its requests
    with Deployment(tmp_path, prometheus_program, broker) as deployment:
        servers, topic = broker.bootstrap_servers, deployment.stack.topic
        deployment.stack.engine.process.kill()
        deployment.send(10, a=1.0)
        deployment.wait_for("MetricsWorkerNearRetention")
        deployment.stack.engine.start()
        wait_until(lambda: deployment.rows_written() == 10, "the rows are written", SECONDS)
        assert not {"MetricsWorkerRecordsExpired", "MetricsWorkerLogReplaced"} & deployment.prometheus.firing()
        deployment.worker.stop()
        deployment.send(100, a=1.0)
        asyncio.run(delete_records(servers, topic, dict.fromkeys(range(4), END_OF_LOG)))
        deployment.worker.start()
        deployment.wait_for("MetricsWorkerRecordsExpired")
        deployment.worker.stop()
        asyncio.run(commit(servers, topic, "metrics-worker", {0: 1_000_000}))
        deployment.worker.start()
        deployment.wait_for("MetricsWorkerLogReplaced")


def test_every_alert_is_tested_here_or_needs_a_cluster() -> None:
    here = set(re.findall(r'wait_for\("(\w+)"\)', Path(__file__).read_text("utf-8")))
    assert here == {alert["alert"] for alert in rules.load_alerts() if "kube_" not in alert["expr"]}


def test_every_alert_is_in_the_tests_of_promtool() -> None:
    cases = Path(__file__).with_name("rules_test.yaml").read_text("utf-8")
    assert set(re.findall(r'alertname="(\w+)"', cases)) == {alert["alert"] for alert in rules.load_alerts()}
