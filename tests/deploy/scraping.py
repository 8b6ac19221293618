"""A real Prometheus that scrapes workers on loopback, with accelerated alert rules."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from deploy.checks import rules
from deploy.local.process import LOOPBACK, Process, free_port

WATCHDOG = "MetricsWorkerWatchdog"
SPEED_UP = 30
"""A minute of the rules takes two seconds."""


class Prometheus:
    """Scrapes twice a second; its targets are in a file, so that they can change."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._directory = directory
        self.port = free_port()
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {
                    "job_name": "metrics-worker",
                    "file_sd_configs": [{"files": [str(directory / "targets.json")], "refresh_interval": "1s"}],
                }
            ],
        }
        self.scrape([])
        (directory / "rules.yml").write_text(yaml.safe_dump(rules.accelerate_rules(SPEED_UP)), "utf-8")
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        command = [
            str(program),
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={LOOPBACK}:{self.port}",
        ]
        self.process = Process("prometheus", command, directory / "prometheus.log")

    def start(self) -> None:
        self.process.start(lambda output: True if "Server is ready" in output else None, timeout_seconds=60.0)

    def stop(self) -> None:
        self.process.stop()

    def scrape(self, workers: Sequence[int], watches: Sequence[int] = ()) -> None:
        """Scrape the workers, and the watches over dead letters, on these ports from now on."""
        new = self._directory / "targets.new"
        groups = [
            {
                "targets": [f"{LOOPBACK}:{port}" for port in ports],
                "labels": {"namespace": "test", "app_kubernetes_io_instance": "metrics-worker", "job": job},
            }
            for job, ports in (("metrics-worker", workers), ("metrics-worker-dlq-watch", watches))
        ]
        new.write_text(json.dumps(groups), "utf-8")
        new.rename(self._directory / "targets.json")

    def firing(self) -> set[str]:
        """The names of the firing alerts, without the one that fires always."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"} - {WATCHDOG}

    def query(self, query: str) -> list[dict[str, Any]]:
        """The current result of a query."""
        result: list[dict[str, Any]] = self._get(f"/api/v1/query?{urlencode({'query': query})}")["result"]
        return result

    def _get(self, path: str) -> dict[str, Any]:
        with urlopen(f"http://{LOOPBACK}:{self.port}{path}", timeout=10) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        return data
