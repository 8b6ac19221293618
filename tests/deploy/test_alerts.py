"""A real Prometheus scrapes a real worker: each alert fires in its situation, and only then.

The rules run thirty times quicker (see `deploy.checks.rules.accelerate_rules`). The alerts on series of
kube-state-metrics need a cluster; `promtool test rules` has them. Most of the time of these tests is waiting, so that
the files run in parallel, each with a deployment of its own.
"""

import re
import time
from pathlib import Path

import pytest

from deploy.checks import rules
from tests.deploy.deployment import SECONDS, Deployment
from tests.deploy.scraping import SPEED_UP, WATCHDOG
from tests.support.local import wait_until

pytestmark = pytest.mark.timeout(400)
CLEAN_SECONDS = 2 * 300 // SPEED_UP
"""As long as the slowest alert needs: five minutes of lag, for five minutes."""


def test_no_alert_fires_in_normal_operation(deployment: Deployment) -> None:
    prometheus = deployment.prometheus
    deployment.wait_until_none_fires()  # before the first scrape there was no worker
    began = time.monotonic()
    while time.monotonic() - began < CLEAN_SECONDS:
        before = deployment.rows_written()
        deployment.send(50, a=1.0, b=2.0)
        wait_until(lambda before=before: deployment.rows_written() >= before + 100, "the rows are written", SECONDS)  # type: ignore[misc]
    fired = prometheus.query(f'last_over_time(ALERTS{{alertstate="firing"}}[{CLEAN_SECONDS}s])')
    assert [alert["metric"]["alertname"] for alert in fired] == [WATCHDOG]
    assert prometheus.query("sum(metrics_worker_rows_written_total) >= 100")


def test_dead_letters_alert(deployment: Deployment) -> None:
    with deployment.stack.engine.client(deployment.stack.database) as client:
        client.execute("ALTER TABLE execution_metrics ADD CONSTRAINT not_negative CHECK metric_value >= 0")
        deployment.send(200, good=1.0, bad=-1.0)
        deployment.wait_for("MetricsWorkerDeadLetters")
        client.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert deployment.prometheus.firing() == {"MetricsWorkerDeadLetters"}
    deployment.wait_until_none_fires()


def test_every_alert_is_tested_or_needs_a_cluster() -> None:
    tests = [path.read_text("utf-8") for path in Path(__file__).parent.glob("test_alerts*.py")]
    tested = {alert for test in tests for alert in re.findall(r'wait_for\("(\w+)"\)', test)}
    assert tested | {WATCHDOG} == {alert["alert"] for alert in rules.load_alerts() if "kube_" not in alert["expr"]}


def test_every_alert_is_in_the_tests_of_promtool() -> None:
    cases = Path(__file__).with_name("rules_test.yaml").read_text("utf-8")
    assert set(re.findall(r'alertname="(\w+)"', cases)) == {alert["alert"] for alert in rules.load_alerts()}
