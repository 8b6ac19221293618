"""The alert on a view that cannot be refreshed; see `test_alerts`."""

import pytest

from tests.deploy.deployment import Deployment

pytestmark = pytest.mark.timeout(400)


def test_failed_refresh_alerts_roll_up_failing(deployment: Deployment) -> None:
    states, refresh = "execution_metrics_per_day_states", "execution_metrics_per_day_refresh"
    with deployment.stack.engine.client(deployment.stack.database) as client:
        client.execute(f"ALTER TABLE {states} RENAME COLUMN total TO other")
        client.execute(f"SYSTEM REFRESH VIEW {refresh}")
        deployment.wait_for("MetricsWorkerRollUpFailing")
        assert deployment.prometheus.firing() == {"MetricsWorkerRollUpFailing"}
        client.execute(f"ALTER TABLE {states} RENAME COLUMN other TO total")
        client.execute(f"SYSTEM REFRESH VIEW {refresh}")
        deployment.wait_until_none_fires()
