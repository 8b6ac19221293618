"""Alerts on many INSERTs for few events; see `test_alerts`."""

import asyncio
from uuid import uuid4

import pytest

from tests.deploy.deployment import SECONDS, Deployment
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import send

pytestmark = pytest.mark.timeout(400)


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
