"""The result of the demo as numbers: one object for programs, and whether it passed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.local.demo.expectations import Expectations
    from deploy.local.demo.verification import Verification
    from deploy.local.demo.worker_progress import WorkerProgress


@dataclass(frozen=True)
class InputSummary:
    """Where the records came from: measured executions and careless producers, or a file.

    `too_large` records were larger than the topic allows, and not sent.
    """

    measured: int = 0
    careless: int = 0
    file: str | None = None
    too_large: int = 0


@dataclass(frozen=True)
class DemoResult:
    """What was sent, what was found of it, and how the worker ended.

    Attributes:
        exit_code: of the worker after SIGTERM; None if it had to be killed.
    """

    sources: InputSummary
    sent: Expectations
    found: Verification
    progress: WorkerProgress
    exit_code: int | None

    @property
    def balanced(self) -> bool:
        """Whether every metric is in exactly one place."""
        found = self.found
        rows, skipped = found.counts.rows_in_view, sum(self.progress.skipped.values())
        return rows + found.replaced + found.letters + skipped == self.sent.metrics and not found.differences

    @property
    def passed(self) -> bool:
        """Whether there is no problem at all."""
        return self.balanced and self.found.uncommitted == 0 and self.exit_code == 0

    @property
    def events_per_second(self) -> float:
        """Mean rate of the records."""
        return self.sent.records / self.progress.seconds if self.progress.seconds else 0.0

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "events": self.sent.records,
            "events_read": self.sent.events,
            "events_unreadable": self.sent.unreadable,
            "tombstones": self.sent.tombstones,
            "metrics": self.sent.metrics,
            "rows": self.found.counts.rows_in_view,
            "rows_replaced": self.found.replaced,
            "executions": self.found.counts.executions,
            "executions_measured": self.sources.measured,
            "dead_letters": {name: count for name, (count, _) in self.found.dead_letters.items()},
            "metrics_dead_lettered": self.found.letters,
            "skipped": sum(self.progress.skipped.values()),
            "skipped_by_type": dict(self.progress.skipped),
            "lost": self.found.differences.lost,
            "duplicates": self.found.differences.duplicates,
            "wrong": self.found.differences.wrong,
            "differences": self.found.differences.examples,
            "balanced": self.balanced,
            "uncommitted": self.found.uncommitted,
            "too_large_to_send": self.sources.too_large,
            "worker_exit_code": self.exit_code,
            "seconds": round(self.progress.seconds, 3),
            "events_per_second": round(self.events_per_second, 1),
        }
