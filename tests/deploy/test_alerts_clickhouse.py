"""Alerts while ClickHouse is away or silent; see `test_alerts`."""

import pytest

from tests.deploy.deployment import SECONDS, Deployment
from tests.support.local import wait_until

pytestmark = pytest.mark.timeout(400)


def test_stopped_clickhouse_alerts_holding_and_lagging(deployment: Deployment) -> None:
    deployment.stack.engine.process.kill()
    deployment.send(10, a=1.0)
    deployment.wait_for("MetricsWorkerHolding")
    deployment.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerNoProgress" not in deployment.prometheus.firing()
    assert "MetricsWorkerStuck" not in deployment.prometheus.firing()
    deployment.stack.engine.start()
    deployment.wait_until_none_fires()


def test_silent_clickhouse_alerts_holding_and_lagging(deployment: Deployment) -> None:
    """A greeting has a time limit, so a frozen server is an outage; `rules_test.yaml` has a worker without progress."""
    deployment.stack.engine.process.pause()
    deployment.send(10, a=1.0)
    deployment.wait_for("MetricsWorkerHolding")
    deployment.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerNoProgress" not in deployment.prometheus.firing()
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
