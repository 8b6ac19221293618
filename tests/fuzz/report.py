"""The result of a run as numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

_MOST_EXAMPLES = 20
_MOST_GUILTY = 50


@dataclass
class FuzzReport:
    """The result of a run through the servers; `--json` prints it.

    Attributes:
        records, megabytes: sent and acknowledged.
        events, tombstones, no_events: kinds of the records, according to the reference.
        rows: expected rows that are in the table.
        replaced: rows that a later event of the same execution has replaced.
        dead_letters: found, by class.
        skipped: metrics by JSON type, as the worker counts them.
        problems: number of differences.
        examples: descriptions of the first of them.
        guilty: numbers of the records that they are about.
        peak_memory_mb: of the worker.
        seconds: from the first record sent to the last one settled.
        exit_code: of the worker after SIGTERM.
    """

    seed: int
    records: int = 0
    megabytes: int = 0
    events: int = 0
    tombstones: int = 0
    no_events: int = 0
    rows: int = 0
    replaced: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    commit_failures: int = 0
    rebalances: int = 0
    peak_memory_mb: int = 0
    seconds: float = 0.0
    records_per_second: int = 0
    exit_code: int | None = None
    problems: int = 0
    examples: list[str] = field(default_factory=list)
    guilty: list[int] = field(default_factory=list)

    def add_problem(self, problem: str, number: int | None = None) -> None:
        """Add one difference, and the number of the record that it is about."""
        self.problems += 1
        if len(self.examples) < _MOST_EXAMPLES:
            self.examples.append(problem if number is None else f"record {number}: {problem}")
        if number is not None and number not in self.guilty and len(self.guilty) < _MOST_GUILTY:
            self.guilty.append(number)

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return self.problems == 0

    def as_json(self) -> dict[str, object]:
        """The object of `--json`."""
        return {**asdict(self), "passed": self.passed}
