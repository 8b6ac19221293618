"""A block: the rows that one INSERT carries, all of one ClickHouse partition."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, repeat, starmap

import orjson

from worker.model import Event, Row

COLUMNS = (
    "execution_id",
    "agent_name",
    "user_id",
    "metric_type",
    "metric_value",
    "completed_at",
    "recorded_at",
    "source_topic",
    "source_partition",
    "source_offset",
)
"""The columns of an INSERT, in the order of `Block.columns`."""


class Block:
    """Rows for one partition of the table.

    What the rows of one event share is kept once an event; `columns` spreads it out when the block is sent.

    Args:
        month: the partition, `YYYYMM` of `completed_at` in UTC.
    """

    __slots__ = ("_counts", "_events", "_metrics", "_values", "month")

    def __init__(self, month: int) -> None:
        self.month = month
        self._events: list[Event] = []
        self._counts: list[int] = []
        self._metrics: list[str] = []
        self._values: list[float] = []

    @classmethod
    def of(cls, month: int, rows: Iterable[Row]) -> "Block":
        """Build a block from single rows."""
        block = cls(month)
        for event, metric, value in rows:
            block.add(event, (metric,), (value,))
        return block

    def __len__(self) -> int:
        return len(self._metrics)

    def add(self, event: Event, metrics: Iterable[str], values: Iterable[float]) -> None:
        """Add one row for each of `metrics`, which all belong to `event`; `values` is as long."""
        before = len(self._metrics)
        self._metrics += metrics
        self._values += values
        added = len(self._metrics) - before
        # Rows of one event in a row are one entry however they came, so that equal rows have equal tokens.
        if self._events and self._events[-1] is event:
            self._counts[-1] += added
        elif added:
            self._events.append(event)
            self._counts.append(added)

    def rows(self) -> Iterator[Row]:
        """Each row by itself, in order."""
        owners = chain.from_iterable(map(repeat, self._events, self._counts))
        return map(Row, owners, self._metrics, self._values)

    def columns(self) -> list[Sequence[object]]:
        """Each of `COLUMNS` as a list of one value a row. Times are in milliseconds, as DateTime64(3) stores them."""
        ids: list[object] = []
        agents: list[object] = []
        users: list[object] = []
        completed: list[object] = []
        recorded: list[object] = []
        topics: list[object] = []
        partitions: list[object] = []
        offsets: list[object] = []
        for event, n in zip(self._events, self._counts, strict=True):
            record = event.record
            ids += [event.execution_id] * n
            agents += [event.agent_name] * n
            users += [event.user_id] * n
            completed += [event.completed_at] * n
            recorded += [event.recorded_at] * n
            topics += [record.topic] * n
            partitions += [record.partition] * n
            offsets += [record.offset] * n
        return [
            ids, agents, users, self._metrics, self._values, completed, recorded, topics, partitions, offsets,
        ]  # fmt: skip

    def token(self) -> str:
        """Name exactly these rows: the same rows give the same token, any other rows another.

        ClickHouse drops an insert in silence whose `insert_deduplication_token` it has seen, whatever it holds, so
        every column goes in. Offsets alone would not do: a topic that is made again starts again at 0.
        """
        digest = blake2b(digest_size=16)
        for part in (
            orjson.dumps(list(starmap(_identity, zip(self._events, self._counts, strict=True)))),
            orjson.dumps(self._metrics),
            array("d", self._values).tobytes(),
        ):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.hexdigest()


def _identity(event: Event, count: int) -> tuple[object, ...]:
    record = event.record
    return (*event[:5], record.topic, record.partition, record.offset, count)
