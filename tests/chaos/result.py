"""The result of a run: one line, and a row of the summary."""

from dataclasses import dataclass, field
from enum import StrEnum

MAX_PEAK_BYTES = 250_000_000


class Verdict(StrEnum):
    """How a run ended."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_RUN = "not run"


@dataclass
class RunResult:
    """One run.

    Attributes:
        events: records that the topic has acknowledged.
        rows: of the de-duplicated view.
        dead_letters: on the topic, repeated ones included; `outage_letters` of them because ClickHouse was unavailable.
        lost, duplicates, wrong: differences from the expected results.
        raw_duplicates: rows of the table that repeat a metric of the same record; no merge has removed any.
        repeated_letters: dead letters beyond one.
        both: rows of the view that are a dead letter of an outage as well.
        restarts: workers started after the first.
        held_seconds: sum over the workers.
        peak_mb: highest peak memory of a worker, in millions of bytes.
        figures: numbers that the scenario reports.
        problems: descriptions; empty for a run that passed.
    """

    scenario: str
    seed: int
    verdict: Verdict = Verdict.FAILED
    events: int = 0
    rows: int = 0
    dead_letters: int = 0
    outage_letters: int = 0
    lost: int = 0
    duplicates: int = 0
    wrong: int = 0
    raw_duplicates: int = 0
    repeated_letters: int = 0
    both: int = 0
    restarts: int = 0
    held_seconds: float = 0.0
    peak_mb: float = 0.0
    seconds: float = 0.0
    figures: dict[str, float] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The run in one line."""
        head = f"{self.scenario:<22} seed {self.seed:<6}"
        if self.verdict is Verdict.NOT_RUN:
            return f"{head} NOT RUN: {'; '.join(self.problems)}"
        figures = "".join(f", {name} {value:,g}" for name, value in self.figures.items())
        return (
            f"{head} {self.verdict}: {self.events:,} events, {self.rows:,} rows, {self.dead_letters:,} dead letters "
            f"({self.outage_letters:,} of an outage), lost {self.lost}, duplicates {self.duplicates}, "
            f"wrong {self.wrong}; raw duplicates {self.raw_duplicates:,}, letters again {self.repeated_letters:,}, "
            f"both {self.both:,}; restarts {self.restarts}, held {self.held_seconds:.1f} s, "
            f"peak {self.peak_mb:.0f} MB, took {self.seconds:.0f} s{figures}"
        )
