"""A process of the worker, started and configured as in production: by its command and environment."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from deploy.local import resources
from deploy.local.process import LOOPBACK, Process, Server

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_STARTED_LOG = re.compile(r"^\{.*\"(?:worker|watch|console) runs\".*\}$", re.MULTILINE)
_SCRAPE_SECONDS = 5.0


class WorkerProcess(Server):
    """A worker process.

    Args:
        directory: for its log file.
        environment: its settings; by default it logs JSON and serves HTTP on a free port of loopback.
        name: of its log file, if several workers share the directory.
        command: `run`, or another one that serves HTTP: `dlq watch`.
        module: that runs the command.
    """

    def __init__(
        self,
        directory: Path,
        environment: Mapping[str, str],
        name: str = "worker",
        command: Sequence[str] = ("run",),
        module: str = "worker",
    ) -> None:
        self.process = Process(
            name,
            [sys.executable, "-m", module, *command],
            directory / f"{name}.log",
            {"HTTP_HOST": LOOPBACK, "HTTP_PORT": "0", "LOG_FORMAT": "json", **environment},
        )
        self.http_port = 0
        self.pid = 0

    def start(self) -> None:
        """Start the worker and wait until it has found its topics and serves HTTP.

        Raises:
            ProcessFailedError: the worker ended or was not ready in time; the message ends with its output.
        """
        started = json.loads(self.process.start(_STARTED_LOG.search).group())
        self.http_port, self.pid = started["http_port"], started["pid"]

    def stop(self) -> None:
        """Send SIGTERM, and SIGKILL after 30 seconds."""
        self.process.stop(timeout_seconds=30.0)

    def readiness(self) -> dict[str, str]:
        """Return the reasons why the worker is not ready, by cause; empty if it is ready."""
        try:
            with urlopen(f"http://{LOOPBACK}:{self.http_port}/readyz", timeout=_SCRAPE_SECONDS) as answer:
                body = json.load(answer)
        except HTTPError as unready:
            with unready:
                body = json.load(unready)
        reasons: dict[str, str] = body["reasons"]
        return reasons

    def telemetry(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Scrape the worker's Prometheus metrics: values by name, then by the values of the labels."""
        with urlopen(f"http://{LOOPBACK}:{self.http_port}/metrics", timeout=_SCRAPE_SECONDS) as answer:
            text = answer.read().decode()
        samples: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return samples

    def cpu_seconds(self) -> float:
        """User and system CPU time since the start."""
        return resources.cpu_seconds(self.pid)

    def peak_memory_bytes(self) -> int:
        """Peak resident memory."""
        return resources.peak_memory_bytes(self.pid)

    def memory_bytes(self) -> int:
        """Resident memory now."""
        return resources.memory_bytes(self.pid)
