"""The ports of the worker in memory. The contract tests check these and the real adapters alike."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from itertools import count
from typing import NamedTuple, cast

from worker.core.errors import StoreError
from worker.core.model import Failed, Labels, Record, Row
from worker.core.outcome import WRITTEN, Constraint, Outcome, OutcomeKind
from worker.dead_letters.dead_letter import EncodedDeadLetter, WorkerInfo
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.dead_letters.settlement import Settlement, encode_settlement, is_settlement
from worker.events.block import Block
from worker.ports import (
    DeadLetterOutcome,
    DeadLetterSink,
    SettlementSink,
    SourceRecordFetcher,
    Store,
    TableConstraints,
    TopicReader,
    Violation,
)

RowRule = Callable[[Row], bool]
UNAVAILABLE = Outcome(OutcomeKind.UNAVAILABLE, "NETWORK_ERROR", "connection refused", 210)
MISCONFIGURED = Outcome(OutcomeKind.MISCONFIGURED, "UNKNOWN_TABLE", "table does not exist", 60)
UNCLASSIFIED = Outcome(OutcomeKind.UNCLASSIFIED, "CODE_4711", "something new", 4711)
TOO_LARGE = Outcome(OutcomeKind.TOO_LARGE, "MEMORY_LIMIT_EXCEEDED", "memory limit exceeded", 241)
REFUSED = Outcome(OutcomeKind.REFUSED, "VIOLATED_CONSTRAINT", "constraint is violated", 469)
CONSTRAINT = Constraint("memory", "metric_value >= 0", "constraint is violated")


class _Scripted(NamedTuple):
    outcome: Outcome
    applied: bool


class StoredRow(NamedTuple):
    """A row of the table, with the columns of `worker.events.block.COLUMNS`."""

    execution_id: object
    agent_name: str
    user_id: str | None
    labels: Labels
    metric_type: str
    metric_value: float
    completed_at: int
    version: int
    source_topic: str
    source_partition: int

    @property
    def recorded_at(self) -> int:
        """As the table computes it."""
        return self.version >> 64

    @property
    def source_offset(self) -> int:
        """As the table computes it."""
        return self.version & (1 << 63) - 1

    @property
    def source(self) -> tuple[str, int, int]:
        """Topic, partition and offset of the record."""
        return self.source_topic, self.source_partition, self.source_offset


class MemoryStore(Store):
    """A store that deduplicates as the table does: a block with a known token changes nothing.

    Args:
        refuses: whether a constraint of the table refuses the row; a block with such a row is refused whole.
        fails: whether the row makes an INSERT fail with an unclassified code.
        names_constraint: whether a refusal names the constraint and a row, so that the constraint can be evaluated.

    Attributes:
        table: the rows in the order of their insertion.
        acknowledged: the rows of every insert that returned "written", each block once.
        inserts: number of rows of each insert, also of failed ones.
        probes: number of probes.
        asked: number of rows of each evaluation of a constraint.
        down: while it is set, every insert and every probe has this outcome.
        broken: while it is set, every insert of rows has this outcome, and probes succeed.
        outcome_of: the outcome of an insert of a block; None where its rows and the script of the test decide.
        watch: called at the beginning of each insert; a test may change the store there.
    """

    def __init__(
        self, refuses: RowRule | None = None, *, fails: RowRule | None = None, names_constraint: bool = False
    ) -> None:
        self.table: list[StoredRow] = []
        self.acknowledged: list[StoredRow] = []
        self.inserts: list[int] = []
        self.probes = 0
        self.asked: list[int] = []
        self.down: Outcome | None = None
        self.broken: Outcome | None = None
        self.outcome_of: Callable[[Block], Outcome | None] = lambda _: None
        self.watch: Callable[[], object] = lambda: None
        self._refuses = refuses
        self._fails = fails
        self._names_constraint = names_constraint
        self._tokens: set[str] = set()
        self._acknowledged_blocks: dict[int, Block] = {}  # by identity; kept, so that no id is given twice
        self._next_inserts: deque[_Scripted | None] = deque()
        self._next_probes: deque[Outcome] = deque()

    def fail_inserts(self, *outcomes: Outcome | None) -> None:
        """Let the next inserts fail, one each, before a row is checked; None lets one pass."""
        self._next_inserts += (_Scripted(outcome, applied=False) if outcome else None for outcome in outcomes)

    def lose_answers(self, count: int) -> None:
        """Let the next `count` inserts write their rows and return UNAVAILABLE, as when the answer is lost."""
        self._next_inserts += (_Scripted(UNAVAILABLE, applied=True) for _ in range(count))

    def follow(self, steps: Sequence[str | Outcome]) -> None:
        """Let the next inserts "pass", have their answer "lost", or fail with an outcome, one each."""
        for step in steps:
            if step == "lost":
                self.lose_answers(1)
            else:
                self.fail_inserts(step if isinstance(step, Outcome) else None)

    def fail_probes(self, *outcomes: Outcome) -> None:
        """Let the next probes fail, one each."""
        self._next_probes += outcomes

    async def insert(self, block: Block) -> Outcome:
        """See `Store`."""
        self.inserts.append(len(block))
        self.watch()
        if failing := self.down or self.broken or self.outcome_of(block):
            return failing
        scripted = self._next_inserts.popleft() if self._next_inserts else None
        if scripted and not scripted.applied:
            return scripted.outcome
        outcome = self._judge(block)
        if outcome.kind is OutcomeKind.WRITTEN:
            self._apply(block)
        if scripted:
            return scripted.outcome
        if outcome.kind is OutcomeKind.WRITTEN and id(block) not in self._acknowledged_blocks:
            self._acknowledged_blocks[id(block)] = block
            self.acknowledged += stored_rows(block)
        return outcome

    async def probe(self) -> Outcome:
        """See `Store`."""
        self.probes += 1
        if self.down:
            return self.down
        return self._next_probes.popleft() if self._next_probes else WRITTEN

    async def find_violating_rows(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """See `Store`. The current `refuses` decides, not that of the time of the insert."""
        self.asked.append(len(block))
        if self.down:
            raise StoreError(self.down)
        if constraint != CONSTRAINT:
            raise StoreError(UNCLASSIFIED)
        return [position for position, row in enumerate(block.rows()) if self._refuses and self._refuses(row)]

    def deduplicated(self) -> dict[tuple[object, ...], StoredRow]:
        """The rows of the view: of each sort key the row of the latest record, or the one inserted last."""
        visible: dict[tuple[object, ...], StoredRow] = {}
        for row in self.table:
            day = row.completed_at // 86_400_000
            key = (row.metric_type, row.agent_name, day, row.execution_id)
            if key not in visible or row.version >= visible[key].version:
                visible[key] = row
        return visible

    def _apply(self, block: Block) -> None:
        if (token := block.deduplication_token()) not in self._tokens:
            self._tokens.add(token)
            self.table += stored_rows(block)

    def _judge(self, block: Block) -> Outcome:
        for position, row in enumerate(block.rows()):
            if self._refuses and self._refuses(row):
                return REFUSED._replace(constraint=CONSTRAINT, row=position) if self._names_constraint else REFUSED
            if self._fails and self._fails(row):
                return UNCLASSIFIED
        return WRITTEN


def stored_rows(block: Block) -> list[StoredRow]:
    """The rows of `block` as the table holds them, read from the columns that are sent."""
    columns = block.columns()
    columns[3] = [tuple(cast("dict[str, str]", labels).items()) for labels in columns[3]]
    columns[5] = [float(cast("float", value)) for value in columns[5]]
    return [StoredRow._make(values) for values in zip(*columns, strict=True)]


class MemoryConstraints(TableConstraints):
    """Constraints, each an expression and what it requires of a row; of several the first one is named.

    Attributes:
        asked: number of blocks.
        down: while it is set, it is what the store answers.
    """

    def __init__(self, rules: Mapping[str, RowRule]) -> None:
        self._rules = rules
        self.asked = 0
        self.down: Outcome | None = None

    async def find_violations(self, block: Block) -> Sequence[Violation]:
        """See `TableConstraints`."""
        self.asked += 1
        if self.down:
            raise StoreError(self.down)
        found: list[Violation] = []
        for row in block.rows():
            violated = [expression for expression, accepts in self._rules.items() if not accepts(row)]
            found += (Violation(row, CONSTRAINT._replace(expression=expression)) for expression in violated[:1])
        return found


class MemoryDeadLetters(DeadLetterSink):
    """A dead-letter topic that keeps what was sent.

    Attributes:
        letters: everything that was acknowledged, in order.
        write_sizes: number of dead letters of each `write`.
        too_large: whether a dead letter does not fit, so that a pointer is kept.
    """

    def __init__(self) -> None:
        self.letters: list[Failed] = []
        self.write_sizes: list[int] = []
        self.too_large: Callable[[Failed], bool] = lambda _: False
        self._next_writes: deque[Collection[int] | None] = deque()

    def fail_writes(self, *unacknowledged: Collection[int] | None) -> None:
        """Let the next writes fail at these positions; None means all of them. Positions beyond the end are ignored."""
        self._next_writes += unacknowledged

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """See `DeadLetterSink`."""
        self.write_sizes.append(len(failed))
        missing: list[int] = []
        if self._next_writes:
            scripted = self._next_writes.popleft()
            positions = range(len(failed))
            missing = [at for at in positions if scripted is None or at in scripted]
        self.letters += [item for at, item in enumerate(failed) if at not in missing]
        unacknowledged = DeadLetterOutcome("not acknowledged in time")
        return [
            unacknowledged if at in missing else DeadLetterOutcome(is_pointer=self.too_large(item))
            for at, item in enumerate(failed)
        ]


class KeptRecord(NamedTuple):
    """A record as a topic keeps it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class MemoryTopic(MemoryDeadLetters, SettlementSink, TopicReader):
    """A dead-letter topic that encodes and parses as the real one does.

    Args:
        partitions: number of partitions, filled in turn.

    Attributes:
        records: the records of each partition, the deleted ones too.
        starts: the first offset of each partition that retention has not deleted.
        watch: called before each record is kept; it may raise.
        handed_out: number of records read; a record that is read twice counts twice.
    """

    HEAD = WorkerInfo(version="1.2.3", table="default.execution_metrics")

    def __init__(self, partitions: int = 1) -> None:
        super().__init__()
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.starts = [0] * partitions
        self.watch: Callable[[], object] = lambda: None
        self.handed_out = 0
        self._times = count(1_767_225_600_000)

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """See `DeadLetterSink`. Keeps only what is acknowledged; `watch` may raise after any number of records."""
        before = len(self.letters)
        try:
            return await super().write(failed)
        finally:
            for item in self.letters[before:]:
                self.watch()
                write = encode_pointer if self.too_large(item) else encode_dead_letter
                self.keep(write(item, self.HEAD, next(self._times)))

    def keep(self, letter: EncodedDeadLetter, partition: int | None = None) -> KeptRecord:
        """Append one record."""
        if partition is None:
            partition = min(range(len(self.records)), key=lambda number: len(self.records[number]))
        into = self.records[partition]
        kept = KeptRecord(
            "execution-completed.dlq",
            partition,
            len(into),
            letter.timestamp,
            letter.key,
            letter.value,
            tuple(letter.headers),
        )
        into.append(kept)
        return kept

    def letters_of(self, partition: int) -> list[Record]:
        """The records of a partition that are no settlements."""
        return [record for record in self.records[partition] if not is_settlement(record)]

    async def fetch_offset_ranges(self) -> Mapping[int, range]:
        """See `TopicReader`."""
        return {at: range(self.starts[at], len(records)) for at, records in enumerate(self.records)}

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """See `TopicReader`; three at a time, so that there are several batches."""
        for start in range(offsets.start, offsets.stop, 3):
            some = self.records[partition][max(start, self.starts[partition]) : min(start + 3, offsets.stop)]
            if not some:
                continue
            self.handed_out += len(some)
            yield some

    async def append(self, partition: int, settlement: Settlement) -> None:
        """See `SettlementSink`."""
        self.watch()
        self.keep(encode_settlement(settlement, self.HEAD.version), partition)


class MemorySources(SourceRecordFetcher):
    """Source topics with the given records."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records = {(record.topic, record.partition, record.offset): record for record in records}

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """See `SourceRecordFetcher`."""
        return self.records.get((topic, partition, offset))
