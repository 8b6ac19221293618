"""A block: the rows of one INSERT, all of one partition of the table."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, chain, groupby, repeat
from struct import pack
from typing import Any

import orjson

from worker.core.model import Event, Row

COLUMNS = (
    "execution_id",
    "agent_name",
    "user_id",
    "metric_type",
    "metric_value",
    "completed_at",
    "version",
    "source_topic",
    "source_partition",
)
"""The columns of an INSERT, in the order of `Block.columns`."""


class Block:
    """Rows for one partition of the table.

    The fields that the rows of an event share are kept once for each event; `columns` repeats them for each row.

    Attributes (read only):
        month: the partition, `YYYYMM` of `completed_at` in UTC.
        events: the events of the rows, in order; an event is here twice only if rows of others are in between.
        counts: how many rows each of `events` has, at least 1.
        metrics, values: of each row.
    """

    __slots__ = ("counts", "events", "metrics", "month", "values")

    def __init__(self, month: int) -> None:
        self.month = month
        self.events: list[Event] = []
        self.counts: list[int] = []
        self.metrics: list[str] = []
        self.values: list[float] = []

    @classmethod
    def from_rows(cls, month: int, rows: Iterable[Row]) -> "Block":
        """Build a block from single rows."""
        block = cls(month)
        for _, same in groupby(rows, lambda row: id(row.event)):
            events, metrics, values = zip(*same, strict=True)
            block.add_rows(events[0], metrics, values)
        return block

    def __len__(self) -> int:
        return len(self.metrics)

    def add_rows(self, event: Event, metrics: Iterable[str], values: Iterable[float]) -> None:
        """Add one row for each of `metrics` of `event`; `values` has the same length."""
        before = len(self.metrics)
        self.metrics += metrics
        self.values += values
        added = len(self.metrics) - before
        # Successive rows of one event are one entry, however they were added, so that equal rows have equal tokens.
        if self.events and self.events[-1] is event:
            self.counts[-1] += added
        elif added:
            self.events.append(event)
            self.counts.append(added)

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
            for position in range(starts[number], starts[done]):
                block = chosen if position in wanted else others
                block.add_rows(self.events[number], (self.metrics[position],), (self.values[position],))
        others._extend(self, done, len(self.events), starts)
        return chosen, others

    def _extend(self, source: "Block", first: int, end: int, starts: Sequence[int]) -> None:
        """Add the events `first` to before `end` of `source`; `starts` has the position of each event's first row."""
        if first == end:
            return
        second = starts[first + 1]
        self.add_rows(
            source.events[first], source.metrics[starts[first] : second], source.values[starts[first] : second]
        )
        self.events += source.events[first + 1 : end]
        self.counts += source.counts[first + 1 : end]
        self.metrics += source.metrics[second : starts[end]]
        self.values += source.values[second : starts[end]]

    def columns(self) -> list[Sequence[object]]:
        """Each of `COLUMNS` as a list with one value a row. Times are in milliseconds, as DateTime64(3) stores them."""
        records = [event.record for event in self.events]
        of_events: Sequence[Sequence[object]] = (
            [event.execution_id for event in self.events],
            [event.agent_name for event in self.events],
            [event.user_id for event in self.events],
            [event.completed_at for event in self.events],
            [event.version for event in self.events],
            [record.topic for record in records],
            [record.partition for record in records],
        )
        repeated = [[*chain.from_iterable(map(repeat, column, self.counts))] for column in of_events]
        return [*repeated[:3], self.metrics, self.values, *repeated[3:]]

    def deduplication_token(self) -> str:
        """What the `insert_deduplication_token` is made of: equal for equal rows, different for any others.

        ClickHouse silently drops an insert whose token it has seen, whatever its rows, so the token covers every
        column. Offsets alone would not be enough: a topic that is deleted and created again starts at 0.
        """
        digest = blake2b(digest_size=16)
        for part in (
            orjson.dumps(self._event_fields()),
            orjson.dumps(self.metrics),
            pack(f"<{len(self.values)}d", *self.values),
        ):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()

    def _event_fields(self) -> list[Sequence[Any]]:
        """What `COLUMNS` except metric and value are made of, one value for each event, and `counts`.

        Half the time of a tuple for each event. A version has more bits than orjson writes, so its two parts are here.
        """
        records = [event.record for event in self.events]
        return [
            [event.execution_id for event in self.events],
            [event.agent_name for event in self.events],
            [event.user_id for event in self.events],
            [event.completed_at for event in self.events],
            [event.recorded_at for event in self.events],
            [record.topic for record in records],
            [record.partition for record in records],
            [record.offset for record in records],
            self.counts,
        ]
