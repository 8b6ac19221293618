"""A block: the rows of one INSERT, of one partition of the table or of several with few rows each."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, chain, groupby, repeat
from struct import pack
from typing import Any, NamedTuple

import orjson

from worker.core.model import Event, Labels, Row
from worker.core.times import DAY
from worker.events.completed_at import month_of_day

COLUMNS = (
    "execution_id",
    "agent_name",
    "user_id",
    "labels",
    "metric_type",
    "metric_value",
    "completed_at",
    "version",
    "source_topic",
    "source_partition",
)
"""The columns of an INSERT, in the order of `Block.columns`."""

SEVERAL_MONTHS = 0
"""The `Block.month` of rows of several months."""
_FLOAT64_BYTES = 8
_FEW_ROWS = 1_000
"""Below this number the fixed cost of an INSERT is the larger part."""
_MAX_MONTHS = 100
"""In one INSERT: the default of ClickHouse's `max_partitions_per_insert_block`."""


class EventFields(NamedTuple):
    """What `COLUMNS` except metric and value are made of: one value for each event of a block.

    A version has more bits than orjson writes, so its two parts are here.
    """

    execution_ids: Sequence[str]
    agent_names: Sequence[str]
    user_ids: Sequence[str | None]
    labels: Sequence[Labels]
    completed_at: Sequence[int]
    recorded_at: Sequence[int]
    topics: Sequence[str]
    partitions: Sequence[int]
    offsets: Sequence[int]


class Block:
    """Rows for one partition of the table, or for several.

    The fields that the rows of an event share are kept once for each event; `columns` repeats them for each row.

    Attributes (read only):
        month: the partition, `YYYYMM` of `completed_at` in UTC; `SEVERAL_MONTHS` of a shared block and of its parts.
        events: the events of the rows, in order; an event is here twice only if rows of others are in between.
        names: of the metrics of each of `events`, at least one; events of one shape share a tuple, mostly.
        counts: how many rows each of `events` has.
        values: of each row.
    """

    __slots__ = ("_event_fields", "_packed_values", "counts", "events", "month", "names", "values")

    def __init__(self, month: int) -> None:
        self.month = month
        self.events: list[Event] = []
        self.names: list[tuple[str, ...]] = []
        self.counts: list[int] = []
        self.values: list[float] = []
        self._packed_values = b""
        self._event_fields: EventFields | None = None

    @classmethod
    def from_rows(cls, month: int, rows: Iterable[Row]) -> "Block":
        """Build a block from single rows."""
        block = cls(month)
        for _, same in groupby(rows, lambda row: id(row.event)):
            events, metrics, values = zip(*same, strict=True)
            block.add_rows(events[0], metrics, values)
        return block

    @classmethod
    def concatenate(cls, month: int, blocks: Iterable["Block"]) -> "Block":
        """Build a block from the rows of others, which have no event in common."""
        joined = cls(month)
        for block in blocks:
            joined.events += block.events
            joined.names += block.names
            joined.counts += block.counts
            joined.values += block.values
        return joined

    def __len__(self) -> int:
        return len(self.values)

    @property
    def metrics(self) -> list[str]:
        """The name of the metric of each row."""
        return [*chain.from_iterable(self.names)]

    @property
    def has_several_months(self) -> bool:
        """Whether the rows are of more than one month, so that a part of them can be written without the others."""
        return len({month_of_day(event.completed_at // DAY) for event in self.events}) > 1

    def add_rows(self, event: Event, names: tuple[str, ...], values: Iterable[float]) -> None:
        """Add one row for each of `names` of the metrics of `event`; there are as many `values`."""
        if not names:
            return
        self.values += values
        # Successive rows of one event are one entry, however they were added, so that equal rows have equal tokens.
        if self.events and self.events[-1] is event:
            self.names[-1] += names
            self.counts[-1] += len(names)
        else:
            self.events.append(event)
            self.names.append(names)
            self.counts.append(len(names))

    def rows(self) -> Iterator[Row]:
        """The rows, in order."""
        owners = chain.from_iterable(map(repeat, self.events, self.counts))
        return map(Row, owners, self.metrics, self.values)

    def split_rows(self, positions: Iterable[int]) -> tuple["Block", "Block"]:
        """The rows at `positions` and all other rows, each in order."""
        chosen, others = Block(self.month), Block(self.month)
        starts = [0, *accumulate(self.counts)]
        done = 0
        for number, group in groupby(sorted(positions), lambda position: bisect_right(starts, position) - 1):
            others._extend(self, done, number, starts)
            wanted, done = frozenset(group), number + 1
            rows = list(zip(range(starts[number], starts[done]), self.names[number], strict=True))
            for block, is_wanted in ((chosen, True), (others, False)):
                of_block = [
                    (name, self.values[position]) for position, name in rows if (position in wanted) is is_wanted
                ]
                names, values = zip(*of_block, strict=True) if of_block else ((), ())
                block.add_rows(self.events[number], names, values)
        others._extend(self, done, len(self.events), starts)
        return chosen, others

    def _extend(self, source: "Block", first: int, end: int, starts: Sequence[int]) -> None:
        """Add the events `first` to before `end` of `source`; `starts` has the position of each event's first row."""
        if first == end:
            return
        second = starts[first + 1]
        self.add_rows(source.events[first], source.names[first], source.values[starts[first] : second])
        self.events += source.events[first + 1 : end]
        self.names += source.names[first + 1 : end]
        self.counts += source.counts[first + 1 : end]
        self.values += source.values[second : starts[end]]

    def columns(self) -> list[Sequence[object]]:
        """Each of `COLUMNS` as a list with one value a row. Times are in milliseconds, as DateTime64(3) stores them."""
        fields = self.event_fields()
        of_events: Sequence[Sequence[object]] = (
            fields.execution_ids,
            fields.agent_names,
            fields.user_ids,
            [*map(dict, fields.labels)],
            fields.completed_at,
            [event.version for event in self.events],
            fields.topics,
            fields.partitions,
        )
        repeated = [[*chain.from_iterable(map(repeat, column, self.counts))] for column in of_events]
        return [*repeated[:4], self.metrics, self.values, *repeated[4:]]

    def pack_values(self) -> bytes:
        """The values as Float64, little-endian. Kept, because token and column consist of them."""
        if len(self._packed_values) != _FLOAT64_BYTES * len(self.values):
            self._packed_values = pack(f"<{len(self.values)}d", *self.values)
        return self._packed_values

    def event_fields(self) -> EventFields:
        """The fields of the events. Kept, because token and columns consist of them."""
        fields = self._event_fields
        if fields is None or len(fields.offsets) != len(self.events):
            records = [event.record for event in self.events]
            fields = self._event_fields = EventFields(
                execution_ids=[event.execution_id for event in self.events],
                agent_names=[event.agent_name for event in self.events],
                user_ids=[event.user_id for event in self.events],
                labels=[event.labels for event in self.events],
                completed_at=[event.completed_at for event in self.events],
                recorded_at=[event.recorded_at for event in self.events],
                topics=[record.topic for record in records],
                partitions=[record.partition for record in records],
                offsets=[record.offset for record in records],
            )
        return fields

    def deduplication_token(self) -> str:
        """What the `insert_deduplication_token` is made of: equal for equal rows, different for any others.

        ClickHouse silently drops an insert whose token it has seen, whatever its rows, so the token covers every
        column. Offsets alone would not be enough: a topic that is deleted and created again starts at 0.
        """
        digest = blake2b(digest_size=16)
        for part in (
            orjson.dumps([*self.event_fields()]),
            orjson.dumps(self._distinct_names()),
            self.pack_values(),
        ):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()

    def _distinct_names(self) -> Sequence[Sequence[Any]]:
        """The different ones of `names`, in order, and for each event which of them it has; `names` if most differ."""
        keys = list(map(id, self.names))
        shared = dict(zip(keys, self.names, strict=True))  # most events share a tuple: faster than to hash it for each
        distinct = dict.fromkeys(shared.values())
        if 2 * len(distinct) > len(keys):
            return self.names
        numbers: Iterable[int] = range(len(distinct))
        if len(distinct) < len(shared):
            numbers = map(dict(zip(distinct, numbers, strict=True)).__getitem__, shared.values())
        number_of = dict(zip(shared, numbers, strict=True))
        return [list(distinct), list(map(number_of.__getitem__, keys))]


def merge_rare_months(blocks: Iterable[Block]) -> list[Block]:
    """Merge `blocks` of less than a thousand rows, each of another month; leave the others as they are.

    A producer that sends old or wrong times scatters a few rows over many months, and an INSERT of one row costs as
    much as one of a thousand. An INSERT of several months is atomic for each month, not as a whole. When it fails half
    way, a retry writes the months that are missing, because ClickHouse keeps the deduplication token for each month.
    When the storage of one month is away, no retry succeeds; the writer then inserts each month alone. A month of many
    rows has an INSERT of its own: an ordinary batch stays atomic.
    """
    merged: list[Block] = []
    rare: list[Block] = []
    for block in blocks:
        (rare if len(block.values) < _FEW_ROWS else merged).append(block)
    for start in range(0, len(rare), _MAX_MONTHS):
        shared = rare[start : start + _MAX_MONTHS]
        merged.append(Block.concatenate(SEVERAL_MONTHS, shared) if len(shared) > 1 else shared[0])
    return merged
