"""Alerts on open dead letters, and the dashboard, which needs some; see `test_alerts`."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.apache_kafka.server import ApacheKafka
from tests.deploy.deployment import SECONDS, Deployment
from tests.support.commands import Commands
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import send

pytestmark = pytest.mark.timeout(400)
DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy/grafana/metrics-worker.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, prometheus_program: Path) -> Iterator[Deployment]:
    """One on Apache Kafka, because Tansu tells no retention; it is a day, and deletes nothing while the tests run."""
    folder = tmp_path_factory.mktemp("deployment")
    broker = ApacheKafka(folder, settings={"log.retention.ms": "86400000"})
    with Deployment(folder, prometheus_program, broker) as deployment:
        yield deployment


def test_new_causes_dead_letters_that_expire_and_a_watch_that_is_away_alert(deployment: Deployment) -> None:
    watch = deployment.start_watch()
    wait_until(lambda: not watch.readiness(), "the topic is scanned", SECONDS)
    deployment.wait_until_none_fires()
    write(deployment, b"garbage")
    deployment.wait_for("MetricsWorkerNewCause")
    deployment.wait_for("MetricsWorkerDeadLettersExpiring")
    environment = deployment.stack.environment()
    Commands(environment).json("dlq", "discard", "--reason", "test", "--yes")
    deployment.wait_until_none_fires()
    watch.process.pause()
    deployment.wait_for("MetricsWorkerDeadLettersUnwatched")
    watch.process.resume()
    deployment.wait_until_none_fires()
    watch.stop()
    deployment.wait_for("MetricsWorkerDeadLettersUnwatched")


def test_every_panel_of_the_dashboard_has_data(deployment: Deployment) -> None:
    deployment.start_watch()
    write(deployment, b"garbage", encoded(event(metrics={"text": "skipped"}, labels={"number": 1})))
    for query in (
        'rate(metrics_worker_metrics_skipped_total{json_type="string"}[5s])',
        'rate(metrics_worker_labels_skipped_total{reason="not_a_string"}[5s])',
        "metrics_worker_dead_letters_first_expiry_timestamp_seconds",
    ):
        wait_until(lambda query=query: bool(deployment.prometheus.query(query)), f"{query} has data", SECONDS)  # type: ignore[misc]
    without_data = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5s")
            query = query.replace("$namespace", ".*").replace("$worker", ".*")
            if not deployment.prometheus.query(query):
                without_data.append(f"{panel['title']}: {query}")
    assert without_data == []


def write(deployment: Deployment, *values: bytes) -> None:
    asyncio.run(send(deployment.stack.broker.bootstrap_servers, deployment.stack.topic, values))
