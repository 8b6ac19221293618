"""Alerts of a worker that blocks, stops or restarts; see `test_alerts`."""

import os
import signal
from pathlib import Path

import pytest

from deploy.local.demo.worker_progress import wait_until_ready
from tests.deploy.deployment import SECONDS, Deployment
from tests.support.local import wait_until

pytestmark = pytest.mark.timeout(400)
# For `sitecustomize`: SIGUSR1 blocks the main thread, and with it the event loop; the HTTP threads still answer.
BLOCK_MAIN_THREAD = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"


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
