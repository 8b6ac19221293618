"""The result of the demo as numbers: one object for programs, and whether it passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deploy.local.demo.comparison import Differences
    from deploy.local.demo.dead_letters import FoundDeadLetter
    from deploy.local.demo.table import SampleRow


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
    """All numbers of the report.

    Attributes:
        records, events, unreadable, tombstones: sent records by kind, according to the reference.
        metrics: in the events.
        rows: in the de-duplicated view.
        executions: that the view shows.
        replaced: metrics whose row a later event of the same execution has replaced.
        letters: how many metrics are dead letters.
        dead_letters: count and an example by class, the most frequent first.
        skipped: metrics by JSON type.
        differences: between expected and found results.
        uncommitted: records by which the worker's committed offsets miss the end of what was sent.
        exit_code: of the worker after SIGTERM; None if it had to be killed.
        seconds: from readiness to the last settled metric.
        sample: a few rows.
    """

    sources: InputSummary
    records: int
    events: int
    unreadable: int
    tombstones: int
    metrics: int
    rows: int
    executions: int
    replaced: int
    letters: int
    dead_letters: Mapping[str, tuple[int, FoundDeadLetter]]
    skipped: Mapping[str, int]
    differences: Differences
    uncommitted: int
    exit_code: int | None
    seconds: float
    sample: Sequence[SampleRow] = field(default=())

    @property
    def balanced(self) -> bool:
        """Whether every metric is in exactly one place."""
        found = self.rows + self.replaced + self.letters + sum(self.skipped.values())
        return found == self.metrics and not self.differences

    @property
    def passed(self) -> bool:
        """Whether there is no problem at all."""
        return self.balanced and self.uncommitted == 0 and self.exit_code == 0

    @property
    def events_per_second(self) -> float:
        """Mean rate of the records."""
        return self.records / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, object]:
        """The object that `--json` prints."""
        return {
            "events": self.records,
            "events_read": self.events,
            "events_unreadable": self.unreadable,
            "tombstones": self.tombstones,
            "metrics": self.metrics,
            "rows": self.rows,
            "rows_replaced": self.replaced,
            "executions": self.executions,
            "executions_measured": self.sources.measured,
            "dead_letters": {name: count for name, (count, _) in self.dead_letters.items()},
            "metrics_dead_lettered": self.letters,
            "skipped": sum(self.skipped.values()),
            "skipped_by_type": dict(self.skipped),
            "lost": self.differences.lost,
            "duplicates": self.differences.duplicates,
            "wrong": self.differences.wrong,
            "differences": self.differences.examples,
            "balanced": self.balanced,
            "uncommitted": self.uncommitted,
            "too_large_to_send": self.sources.too_large,
            "worker_exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "events_per_second": round(self.events_per_second, 1),
        }
