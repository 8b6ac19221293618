"""The outside world in memory, at the ports. The same behaviour is asked of these as of the real adapters."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from itertools import count
from typing import NamedTuple, cast

from worker.block import Block
from worker.errors import (
    Constraint,
    DeadLetterUnavailable,
    RowRefused,
    StoreError,
    StoreMisconfigured,
    StoreUnavailable,
    UnknownStoreError,
)
from worker.letters.dead_letter import DeadLetter, Letterhead, dead_letter, pointer
from worker.letters.done import Done, together
from worker.model import Failed, Record, Row
from worker.ports import Backlog, DeadLetters, Sources, Store

Guilty = Callable[[Row], bool]
Error = Callable[[], StoreError]


def unavailable() -> StoreError:
    """An outage: nothing was taken."""
    return StoreUnavailable("connection refused", name="NETWORK_ERROR", code=210)


def misconfigured() -> StoreError:
    """A table that is not there."""
    return StoreMisconfigured("table does not exist", name="UNKNOWN_TABLE", code=60)


def unknown() -> StoreError:
    """An error that the table of codes does not know."""
    return UnknownStoreError("division by zero", name="ILLEGAL_DIVISION", code=153)


CONSTRAINT = Constraint("memory", "metric_value >= 0", "constraint is violated")


class _Scripted(NamedTuple):
    error: StoreError
    applied: bool


class StoredRow(NamedTuple):
    """A row of the table, with the columns of `worker.block.COLUMNS`."""

    execution_id: object
    agent_name: str
    user_id: str | None
    metric_type: str
    metric_value: float
    completed_at: int
    recorded_at: int
    source_topic: str
    source_partition: int
    source_offset: int


class MemoryStore(Store):
    """A store that keeps its rows as the table does: a block whose token it has seen changes nothing.

    Args:
        refuses: rows that a rule of the table forbids; a block with one is refused whole.
        fails: rows that make the store fail with a code that nobody knows.
        names_row: whether a refusal names the first guilty row.
        names_constraint: whether it names the constraint too, so that the store can be asked about it.

    Attributes:
        table: the rows, in the order in which they came.
        witnessed: the rows that probes have added to it.
        acknowledged: the rows of every insert that returned, those of the very same block once.
        inserts: how many rows each insert held, whatever became of it.
        probes: how many probes there were.
        asked: how many rows it was asked about each time.
        down: while it is set, every insert and every probe fails with it.
        broken: while it is set, every insert of rows fails with it, and probes of none are answered.
        watch: called at the beginning of each insert, to change how things stand then.
    """

    def __init__(
        self,
        refuses: Guilty | None = None,
        *,
        fails: Guilty | None = None,
        names_row: bool = False,
        names_constraint: bool = False,
    ) -> None:
        self.table: list[StoredRow] = []
        self.witnessed: list[StoredRow] = []
        self.acknowledged: list[StoredRow] = []
        self.inserts: list[int] = []
        self.probes = 0
        self.asked: list[int] = []
        self.down: Error | None = None
        self.broken: Error | None = None
        self.watch: Callable[[], object] = lambda: None
        self._refuses = refuses
        self._fails = fails
        self._names_row = names_row or names_constraint
        self._names_constraint = names_constraint
        self._tokens: set[str] = set()
        self._acknowledged_blocks: dict[int, Block] = {}  # by identity; kept, so that no id is given twice
        self._next_inserts: deque[_Scripted | None] = deque()
        self._next_probes: deque[StoreError] = deque()

    def fail_inserts(self, *errors: Error | None) -> None:
        """Let the next inserts fail, one each, before a row is looked at; None lets one pass."""
        self._next_inserts += (_Scripted(error(), applied=False) if error else None for error in errors)

    def lose_answers(self, count: int) -> None:
        """Let the next inserts do their work, and lose the answer: their outcome is unknown to the caller."""
        self._next_inserts += (_Scripted(unavailable(), applied=True) for _ in range(count))

    def fail_probes(self, *errors: Error) -> None:
        """Let the next probes fail, one each."""
        self._next_probes += (error() for error in errors)

    async def insert(self, block: Block) -> None:
        """See `Store`."""
        self.inserts.append(len(block))
        self.watch()
        if failing := self.down or self.broken:
            raise failing()
        scripted = self._next_inserts.popleft() if self._next_inserts else None
        if scripted and not scripted.applied:
            raise scripted.error
        stored = self._apply(block)
        if scripted:
            raise scripted.error
        if id(block) not in self._acknowledged_blocks:
            self._acknowledged_blocks[id(block)] = block
            self.acknowledged += stored

    async def probe(self, witness: Block | None = None) -> None:
        """See `Store`."""
        self.probes += 1
        if failing := self.down or (self.broken if witness else None):
            raise failing()
        if self._next_probes:
            raise self._next_probes.popleft()
        if witness:
            self.witnessed += self._taken(witness)

    async def violating(self, constraint: Constraint, block: Block) -> Sequence[int]:
        """See `Store`. The rule is the one that it has now, whatever it was when the constraint was named."""
        self.asked.append(len(block))
        if self.down:
            raise self.down()
        if constraint != CONSTRAINT:
            raise UnknownStoreError("another table's", name="OtherTable")
        return [position for position, row in enumerate(block.rows()) if self._refuses and self._refuses(row)]

    def deduplicated(self) -> dict[tuple[object, ...], StoredRow]:
        """What the view shows: of rows with one sort key the one of the youngest record, or the last that came."""
        shown: dict[tuple[object, ...], StoredRow] = {}
        for row in [*self.table, *self.witnessed]:
            day = row.completed_at // 86_400_000
            key = (row.metric_type, row.agent_name, day, row.execution_id)
            if key not in shown or row.recorded_at >= shown[key].recorded_at:
                shown[key] = row
        return shown

    def _apply(self, block: Block) -> list[StoredRow]:
        stored = self._taken(block)
        if (token := block.token()) not in self._tokens:
            self._tokens.add(token)
            self.table += stored
        return stored

    def _taken(self, block: Block) -> list[StoredRow]:
        for position, row in enumerate(block.rows()):
            if self._refuses and self._refuses(row):
                raise RowRefused(
                    "constraint is violated",
                    name="VIOLATED_CONSTRAINT",
                    code=469,
                    row=position if self._names_row else None,
                    constraint=CONSTRAINT if self._names_constraint else None,
                )
            if self._fails and self._fails(row):
                raise unknown()
        return stored_rows(block)


def stored_rows(block: Block) -> list[StoredRow]:
    """The rows of `block` as the table holds them, read from the columns that are sent."""
    columns = block.columns()
    columns[4] = [float(cast("float", value)) for value in columns[4]]
    return [StoredRow._make(values) for values in zip(*columns, strict=True)]


class MemoryDeadLetters(DeadLetters):
    """A dead-letter topic that keeps what was put.

    Attributes:
        letters: everything that was acknowledged, in order.
        puts: how many were put each time.
        too_large: what does not fit, so that a pointer is kept.
    """

    def __init__(self) -> None:
        self.letters: list[Failed] = []
        self.puts: list[int] = []
        self.too_large: Callable[[Failed], bool] = lambda _: False
        self._next_puts: deque[Collection[int] | None] = deque()

    def fail_puts(self, *unacknowledged: Collection[int] | None) -> None:
        """Let the next puts miss the acknowledgement at these positions; None means at all of them.

        Positions beyond what is put do not count; where none is left the put succeeds.
        """
        self._next_puts += unacknowledged

    async def put(self, failed: Sequence[Failed]) -> Sequence[int]:
        """See `DeadLetters`."""
        self.puts.append(len(failed))
        missing: list[int] = []
        if self._next_puts:
            scripted = self._next_puts.popleft()
            positions = range(len(failed))
            missing = [at for at in positions if scripted is None or at in scripted]
        self.letters += [item for at, item in enumerate(failed) if at not in missing]
        pointers = [at for at, item in enumerate(failed) if at not in missing and self.too_large(item)]
        if missing:
            raise DeadLetterUnavailable("not acknowledged in time", missing, pointers)
        return pointers


class KeptRecord(NamedTuple):
    """A record as a topic keeps it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class MemoryTopic(MemoryDeadLetters, Backlog):
    """A dead-letter topic whose letters are written and read as the real ones are.

    Args:
        partitions: how many; letters go to them in turn.
        keeps_texts: whether it keeps, as Kafka does and Tansu does not, what is done beyond an offset.

    Attributes:
        records: what stands in each partition.
        watch: called before letters are kept, and before progress is saved, to change how things stand then.
        handed_out: how many records were read, those that were read twice twice.
    """

    HEAD = Letterhead(worker="1.2.3", table="default.execution_metrics")

    def __init__(self, partitions: int = 1, *, keeps_texts: bool = True) -> None:
        super().__init__()
        self.records: list[list[Record]] = [[] for _ in range(partitions)]
        self.watch: Callable[[], object] = lambda: None
        self.handed_out = 0
        self._keeps_texts = keeps_texts
        self._kept: dict[int, tuple[int, str]] = {}
        self._times = count(1_767_225_600_000)

    async def put(self, failed: Sequence[Failed]) -> Sequence[int]:
        """See `DeadLetters`. What is not acknowledged is not kept; `watch` may end it after any number of letters."""
        before = len(self.letters)
        try:
            return await super().put(failed)
        finally:
            for item in self.letters[before:]:
                self.watch()
                write = pointer if self.too_large(item) else dead_letter
                self.keep(write(item, self.HEAD, next(self._times)))

    def keep(self, letter: DeadLetter, partition: int | None = None) -> KeptRecord:
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

    async def extent(self) -> Mapping[int, range]:
        """See `Backlog`."""
        return {partition: range(len(records)) for partition, records in enumerate(self.records)}

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        """See `Backlog`; few at a time, so that there is more than one time."""
        for start in range(offsets.start, offsets.stop, 3):
            some = self.records[partition][start : min(start + 3, offsets.stop)]
            self.handed_out += len(some)
            yield some

    async def progress(self) -> Mapping[int, Done]:
        """See `Backlog`."""
        return {partition: Done.read(*kept) for partition, kept in self._kept.items()}

    async def save(self, progress: Mapping[int, Done], stale: Mapping[int, Done]) -> None:
        """See `Backlog`."""
        self.watch()
        kept = await self.progress()
        for partition, done in progress.items():
            both = together(done, kept.get(partition), stale.get(partition))
            self._kept[partition] = (both.first, both.text() if self._keeps_texts else "")


class MemorySources(Sources):
    """Source topics; every record that was ever given to it, by its place."""

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records = {(record.topic, record.partition, record.offset): record for record in records}

    async def fetch(self, topic: str, partition: int, offset: int) -> Record | None:
        """See `Sources`."""
        return self.records.get((topic, partition, offset))
