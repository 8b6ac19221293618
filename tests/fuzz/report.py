"""What a run came to, as numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass
class FuzzReport:
    """Everything that a run through the servers says.

    Attributes:
        records, megabytes: put onto the topic, and acknowledged.
        events, tombstones, no_events: what they are, by the reference.
        rows: owed, and found in the table as they should be.
        replaced: rows that gave way to a younger event of the same execution.
        dead_letters: found, by class.
        skipped: metrics by JSON type, as the worker has counted them.
        problems: how many things do not agree.
        examples: the first of them, in words.
        guilty: numbers of the records that they speak of.
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
        """Take down one thing that does not agree, and the record that it is about."""
        self.problems += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(problem if number is None else f"record {number}: {problem}")
        if number is not None and number not in self.guilty and len(self.guilty) < _GUILTY:
            self.guilty.append(number)

    @property
    def passed(self) -> bool:
        """Whether there is nothing to complain of."""
        return self.problems == 0

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {**asdict(self), "passed": self.passed}


_EXAMPLES = 20
_GUILTY = 50
