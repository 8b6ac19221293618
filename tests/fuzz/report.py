"""The result of a run as numbers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from deploy.local.demo.dead_letters import OUTAGE_CLASSES
from deploy.local.demo.expectations import Expectations, RecordPosition
from deploy.local.demo.verification import Verification
from tests.fuzz.sender import Sender


@dataclass
class FuzzReport:
    """The result of a run through the servers; `--json` prints it.

    Attributes:
        records, megabytes: sent and acknowledged.
        kinds: how many records of each kind were sent.
        clients: how many records each client has sent with each codec.
        events, tombstones, no_events: kinds of the records, according to the reference.
        rows: of the de-duplicated view.
        replaced: rows that a later event of the same execution has replaced.
        dead_letters: found, by class.
        skipped: metrics by JSON type, as the worker counts them.
        problems: number of differences.
        examples: descriptions of the first of them.
        guilty: numbers of the records that they are about.
        ordinary_peak_memory_mb: of the worker after the ordinary events.
        peak_memory_mb: of the worker after all records.
        peak_memory: its parts, by `memory_probe`.
        seconds: from the first record sent after the ordinary ones to the last one settled.
        exit_code: of the worker after SIGTERM.
    """

    seed: int
    records: int = 0
    megabytes: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    clients: dict[str, int] = field(default_factory=dict)
    events: int = 0
    tombstones: int = 0
    no_events: int = 0
    rows: int = 0
    replaced: int = 0
    dead_letters: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    commit_failures: int = 0
    rebalances: int = 0
    ordinary_peak_memory_mb: int = 0
    peak_memory_mb: int = 0
    peak_memory: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    records_per_second: int = 0
    exit_code: int | None = None
    problems: int = 0
    examples: list[str] = field(default_factory=list)
    guilty: list[int] = field(default_factory=list)

    def check(self, holds: object, otherwise: str) -> None:
        """Add the problem `otherwise` unless `holds`."""
        if not holds:
            self.problems += 1
            self.examples.append(otherwise)

    def add_sent(self, sender: Sender, seconds: float, records: int) -> None:
        """Add what was sent; `records` of it in so many seconds."""
        self.records, self.megabytes = sender.expectations.records, sender.bytes // 1_000_000
        self.kinds, self.clients = dict(sorted(sender.kinds.items())), dict(sorted(sender.clients.items()))
        self.seconds, self.records_per_second = round(seconds, 1), round(records / seconds)

    def add_results(
        self, expectations: Expectations, found: Verification, numbers: Mapping[RecordPosition, int]
    ) -> None:
        """Add what was verified; `numbers` has the number of the record at each position."""
        self.events, self.tombstones = expectations.events, expectations.tombstones
        self.no_events = expectations.unreadable
        self.rows, self.replaced = found.counts.rows_in_view, found.replaced
        self.dead_letters = {name: count for name, (count, _) in found.dead_letters.items()}
        self.problems += found.differences.total
        self.examples += found.differences.examples
        self.guilty += [numbers[position] for position in found.differences.positions if position in numbers]
        self.check(found.uncommitted == 0, f"the committed offsets miss the ends by {found.uncommitted} records")
        of_an_outage = OUTAGE_CLASSES & self.dead_letters.keys()
        self.check(not of_an_outage, "there are dead letters of an outage, and there was none")

    @property
    def passed(self) -> bool:
        """Whether there is no problem."""
        return self.problems == 0

    def as_json(self) -> dict[str, object]:
        """The object of `--json`."""
        return {**asdict(self), "passed": self.passed}
