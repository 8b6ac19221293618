"""A real Prometheus scrapes a real worker: each alert fires when what it is about happens, and else none does.

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
from deploy.local.demo.worker_progress import wait_until_ready
from deploy.local.process import free_port
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.deploy.scraping import QUICKER, Prometheus
from tests.support.events import encoded, event
from tests.support.local import wait_until
from tests.support.topic import send

pytestmark = pytest.mark.timeout(400)
DASHBOARD = json.loads((Path(__file__).parents[2] / "deploy/grafana/metrics-worker.json").read_text("utf-8"))
SECONDS = 120.0
CLEAN_SECONDS = 2 * 300 // QUICKER
"""As long as the slowest alert needs: five minutes of lag, for five minutes."""
# For `sitecustomize`: at SIGUSR1 the main thread, and with it the loop, stands still; the threads of HTTP answer on.
STANDS_STILL = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))\n"


class Scene:
    """Broker, engine, one worker and Prometheus, of which a test may break what it likes."""

    def __init__(self, directory: Path, program: Path) -> None:
        self.stack = Stack(directory)
        self.prometheus = Prometheus(program, directory)
        self.directory = directory
        self.open = ExitStack()

    def __enter__(self) -> "Scene":
        self.stack.start()
        self.open.callback(self.stack.stop)
        environment = {
            **self.stack.environment(),
            "HTTP_PORT": str(free_port()),  # the same after a restart, as a container's
            "CLICKHOUSE_TIMEOUT_SECONDS": "100",
            "KAFKA_REBALANCE_TIMEOUT_SECONDS": "200",
            "RETRY_ATTEMPTS": "2",
            "RETRY_MAX_SECONDS": "1",
            "ON_UNAVAILABLE": "hold",
        }
        self.worker = WorkerProcess(self.directory, environment)
        self.open.callback(self.worker.process.kill)
        self.worker.start()
        wait_until_ready(self.worker)
        self.open.callback(self.prometheus.process.kill)
        self.prometheus.start()
        self.prometheus.watch([self.worker.http_port])
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def send(self, count: int, **metrics: float) -> None:
        values = [encoded(event(execution_id=str(uuid4()), metrics=metrics)) for _ in range(count)]
        asyncio.run(send(self.stack.broker.bootstrap_servers, self.stack.topic, values))

    def written(self) -> float:
        return self.worker.telemetry()["metrics_worker_rows_written_total"][()]

    def wait_for(self, alert: str) -> None:
        wait_until(lambda: alert in self.prometheus.firing(), f"{alert} fires", SECONDS)

    def wait_for_quiet(self) -> None:
        wait_until(lambda: not self.prometheus.firing(), "no alert fires", SECONDS)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, prometheus_program: Path) -> Iterator[Scene]:
    with Scene(tmp_path_factory.mktemp("scene"), prometheus_program) as scene:
        yield scene


def test_a_clean_run_raises_nothing(scene: Scene) -> None:
    prometheus = scene.prometheus
    wait_until(lambda: bool(prometheus.ask('up{job="metrics-worker"} == 1')), "the worker is scraped", SECONDS)
    scene.wait_for_quiet()  # before the first scrape no worker was there
    began = time.monotonic()
    while time.monotonic() - began < CLEAN_SECONDS:
        before = scene.written()
        scene.send(50, a=1.0, b=2.0)
        wait_until(lambda before=before: scene.written() >= before + 100, "the rows are written", SECONDS)  # type: ignore[misc]
    assert prometheus.ask(f'last_over_time(ALERTS{{alertstate="firing"}}[{CLEAN_SECONDS}s])') == []
    assert prometheus.ask("sum(metrics_worker_rows_written_total) >= 100")


def test_dead_letters(scene: Scene) -> None:
    with scene.stack.engine.client(scene.stack.database) as client:
        client.execute("ALTER TABLE execution_metrics ADD CONSTRAINT not_negative CHECK metric_value >= 0")
        scene.send(200, good=1.0, bad=-1.0)
        scene.wait_for("MetricsWorkerDeadLetters")
        client.execute("ALTER TABLE execution_metrics DROP CONSTRAINT not_negative")
    assert scene.prometheus.firing() == {"MetricsWorkerDeadLetters"}
    scene.wait_for_quiet()


def test_clickhouse_is_away(scene: Scene) -> None:
    scene.stack.engine.process.kill()
    scene.send(10, a=1.0)
    scene.wait_for("MetricsWorkerHolding")
    scene.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerNoProgress" not in scene.prometheus.firing()
    assert "MetricsWorkerStuck" not in scene.prometheus.firing()
    scene.stack.engine.start()
    scene.wait_for_quiet()


def test_clickhouse_answers_nothing_and_the_worker_waits_without_holding(scene: Scene) -> None:
    scene.stack.engine.process.pause()
    scene.send(10, a=1.0)
    scene.wait_for("MetricsWorkerNoProgress")
    scene.wait_for("MetricsWorkerLagging")
    assert "MetricsWorkerHolding" not in scene.prometheus.firing()
    scene.stack.engine.process.resume()
    scene.wait_for_quiet()


def test_an_insert_without_an_answer_grows_old(scene: Scene) -> None:
    scene.stack.engine.process.pause()
    scene.send(10, a=1.0)
    wait_until(lambda: lag(scene) > 0, "the insert is under way", SECONDS)
    scene.stack.engine.process.kill()
    scene.wait_for("MetricsWorkerDeduplicationAtRisk")
    scene.stack.engine.start()
    scene.wait_for_quiet()


def lag(scene: Scene) -> float:
    return max(scene.worker.telemetry()["metrics_worker_lag_seconds"].values(), default=0.0)


def test_every_panel_of_the_dashboard_has_an_answer_after_all_that(scene: Scene) -> None:
    asyncio.run(
        send(scene.stack.broker.bootstrap_servers, scene.stack.topic, [encoded(event(metrics={"text": "skipped"}))])
    )
    skipped = 'metrics_worker_metrics_skipped_total{json_type="string"}'
    wait_until(lambda: bool(scene.prometheus.ask(f"rate({skipped}[5s])")), "the skipped metric is scraped", SECONDS)
    unanswered = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"].replace("$__rate_interval", "5s").replace("$namespace", ".*")
            if not scene.prometheus.ask(query):
                unanswered.append(f"{panel['title']}: {query}")
    assert unanswered == []


def test_the_loop_stands_still_while_the_process_answers(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(STANDS_STILL)
    scene.worker.process.kill()
    scene.worker.process.update_environment(PYTHONPATH=str(tmp_path))
    scene.worker.start()
    wait_until_ready(scene.worker)
    scene.wait_for_quiet()
    os.kill(scene.worker.pid, signal.SIGUSR1)
    scene.wait_for("MetricsWorkerStuck")
    assert "MetricsWorkerAbsent" not in scene.prometheus.firing()
    scene.worker.process.kill()
    scene.worker.start()
    wait_until_ready(scene.worker)
    scene.wait_for_quiet()


def test_no_worker_answers(scene: Scene) -> None:
    os.kill(scene.worker.pid, signal.SIGSTOP)
    scene.wait_for("MetricsWorkerAbsent")
    os.kill(scene.worker.pid, signal.SIGCONT)
    scene.wait_for_quiet()


def test_restarts(scene: Scene) -> None:
    # The last: the window of this rule keeps its length, and so it goes on firing.
    for _ in range(3):
        scene.worker.process.kill()
        scene.worker.start()
        here = f"process_start_time_seconds{{job='metrics-worker'}} > {scene_start(scene) - 0.5}"
        wait_until(lambda here=here: bool(scene.prometheus.ask(here)), "the new start is scraped", SECONDS)  # type: ignore[misc]
    scene.wait_for("MetricsWorkerRestarting")


def scene_start(scene: Scene) -> float:
    return scene.worker.telemetry()["process_start_time_seconds"][()]


def test_every_alert_is_made_to_fire_here_or_asks_the_cluster() -> None:
    here = set(re.findall(r'wait_for\("(\w+)"\)', Path(__file__).read_text("utf-8")))
    assert here == {alert["alert"] for alert in rules.load_alerts() if "kube_" not in alert["expr"]}


def test_every_alert_is_in_the_tests_of_promtool() -> None:
    cases = Path(__file__).with_name("rules_test.yaml").read_text("utf-8")
    assert set(re.findall(r'alertname="(\w+)"', cases)) == {alert["alert"] for alert in rules.load_alerts()}
