"""The worker as production runs it: a process of its own, configured by its environment."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from deploy.local.process import LOOPBACK, Process, Server

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUNS = re.compile(r"^\{.*\"worker runs\".*\}$", re.MULTILINE)
_TICKS = os.sysconf("SC_CLK_TCK")
_SCRAPE_SECONDS = 5.0


class WorkerProcess(Server):
    """One worker.

    Args:
        directory: where its log goes.
        environment: what it is told; on top of that it listens on a free port of loopback and logs JSON.
        name: of its log file, when there are several.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str], name: str = "worker") -> None:
        self.process = Process(
            name,
            [sys.executable, "-m", "worker", "run"],
            directory / f"{name}.log",
            {"HTTP_HOST": LOOPBACK, "HTTP_PORT": "0", "LOG_FORMAT": "json", **environment},
        )
        self.http_port = 0
        self.pid = 0

    def start(self) -> None:
        """Start it; returns when it has found its topics and listens.

        Raises:
            ProcessFailedError: it ended instead; the text has what it said.
        """
        said = json.loads(self.process.start(_RUNS.search).group())
        self.http_port, self.pid = said["http_port"], said["pid"]

    def stop(self) -> None:
        """SIGTERM, and time to finish."""
        self.process.stop(timeout_seconds=30.0)

    def readiness(self) -> dict[str, str]:
        """Why no work flows, by cause; empty when it does."""
        try:
            with urlopen(f"http://{LOOPBACK}:{self.http_port}/readyz", timeout=_SCRAPE_SECONDS) as answer:
                body = json.load(answer)
        except HTTPError as unready:
            with unready:
                body = json.load(unready)
        reasons: dict[str, str] = body["reasons"]
        return reasons

    def telemetry(self) -> dict[str, dict[tuple[str, ...], float]]:
        """What it measures about itself: by name, then by the values of the labels."""
        with urlopen(f"http://{LOOPBACK}:{self.http_port}/metrics", timeout=_SCRAPE_SECONDS) as answer:
            text = answer.read().decode()
        samples: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return samples

    def cpu_seconds(self) -> float:
        """User and system time so far (Linux: /proc/PID/stat, fields 14 and 15)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_memory_bytes(self) -> int:
        """The most that it had in memory at once (Linux: VmHWM)."""
        return self._memory("VmHWM")

    def memory_bytes(self) -> int:
        """What it has in memory now (Linux: VmRSS)."""
        return self._memory("VmRSS")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024  # type: ignore[index]  # always there
