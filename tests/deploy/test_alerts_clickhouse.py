"""Alerts while ClickHouse is away or silent; see `test_alerts`."""

import pytest

from deploy.local.demo.worker_progress import wait_until_ready
from tests.deploy.deployment import SECONDS, Deployment
from tests.support.local import wait_until
from tests.support.proxy import FaultProxy, run_in_thread

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
    """A greeting has a time limit, so a frozen server is an outage."""
    deployment.stack.engine.process.pause()
    deployment.send(10, a=1.0)
    deployment.wait_for("MetricsWorkerHolding")
    deployment.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerNoProgress" not in deployment.prometheus.firing()
    deployment.stack.engine.process.resume()
    deployment.wait_until_none_fires()


def test_insert_without_answer_alerts_no_progress(deployment: Deployment) -> None:
    """The server answers everything but an INSERT, as with a locked table: neither an outage nor progress."""
    with run_in_thread(FaultProxy(deployment.stack.engine.port)) as proxy:
        restart_worker(deployment, CLICKHOUSE_PORT=str(proxy.port))
        proxy.swallow = lambda sent: b"INSERT" in sent
        deployment.send(10, a=1.0)
        deployment.wait_for("MetricsWorkerNoProgress")
        assert "MetricsWorkerHolding" not in deployment.prometheus.firing()
        proxy.swallow = None
        deployment.wait_until_none_fires()
        restart_worker(deployment, CLICKHOUSE_PORT=str(deployment.stack.engine.port))
    deployment.wait_until_none_fires()


def test_old_unanswered_insert_alerts_deduplication_at_risk(deployment: Deployment) -> None:
    deployment.stack.engine.process.pause()
    deployment.send(10, a=1.0)
    wait_until(lambda: lag(deployment) > 0, "the insert is under way", SECONDS)
    deployment.stack.engine.process.kill()
    deployment.wait_for("MetricsWorkerDeduplicationAtRisk")
    deployment.stack.engine.start()
    deployment.wait_until_none_fires()


def restart_worker(deployment: Deployment, **environment: str) -> None:
    deployment.worker.process.kill()
    deployment.worker.process.update_environment(**environment)
    deployment.worker.start()
    wait_until_ready(deployment.worker)


def lag(deployment: Deployment) -> float:
    return max(deployment.worker.telemetry()["metrics_worker_lag_seconds"].values(), default=0.0)
