"""Alerts on records that expire before they are read; see `test_alerts`."""

import asyncio
from pathlib import Path

import pytest

from deploy.local.apache_kafka.server import ApacheKafka
from tests.deploy.deployment import SECONDS, Deployment
from tests.support.local import wait_until
from tests.support.topic import commit, delete_records

pytestmark = pytest.mark.timeout(400)
END_OF_LOG = -1


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
