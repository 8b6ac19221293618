"""The event source in memory, as the only member of its group. The contract tests check it like the real one."""

import asyncio
from collections.abc import Mapping, Sequence

from worker.core.model import Record, size_of
from worker.ports import EventSource, EventSourceListener, Partition, Polled


class MemoryEventSource(EventSource):
    """Returns the records of each partition in order, from the committed offset on.

    Attributes:
        committed: the next offset of each partition.
        commits: the offsets of each commit, refused ones too.
        refuse_commits: while true commits fail, as after a rebalance.
        asked: `max_records` of each poll.
        idles: number of calls of `pause`.
    """

    def __init__(self, records: Sequence[Record] = (), committed: Mapping[Partition, int] | None = None) -> None:
        self.committed: dict[Partition, int] = dict(committed or {})
        self.commits: list[dict[Partition, int]] = []
        self.refuse_commits = False
        self.asked: list[int] = []
        self.idles = 0
        self._records: dict[Partition, list[Record]] = {}
        self._listener: EventSourceListener | None = None
        self._position: dict[Partition, int] = {}
        self._paused = False
        self._moved: dict[Partition, int] = {}
        self.put(*records)

    def put(self, *records: Record) -> None:
        """Append to the topic; the records have their offsets."""
        for record in records:
            self._records.setdefault(Partition(record.topic, record.partition), []).append(record)

    def replace_log(self, partition: Partition, start: int, *records: Record) -> None:
        """Replace the log of `partition` by one that begins at `start`; the next poll moves the position there."""
        self._records[partition] = list(records)
        self._moved[partition] = start

    async def rebalance(self) -> None:
        """Revoke and assign every partition."""
        if self._listener:
            await self._listener.on_revoke()
        self._position.clear()

    def subscribe(self, listener: EventSourceListener) -> None:
        """See `EventSource`."""
        self._listener = listener

    async def poll(self, max_records: int, max_bytes: int, timeout_seconds: float) -> Polled:
        """See `EventSource`. Without records it waits 10 ms at most."""
        self.asked.append(max_records)
        if await self._move():
            return Polled((), 0, {})
        polled: list[Record] = []
        size, next_offsets = 0, {}
        if not self._paused:
            for partition, records in self._records.items():
                begin = self._position.get(partition, self.committed.get(partition, 0))
                some = [record for record in records if record.offset >= begin][: max_records - len(polled)]
                for record in some:
                    if size >= max_bytes:
                        break
                    self._position[partition] = next_offsets[partition] = record.offset + 1
                    polled.append(record)
                    size += size_of(record)
        await asyncio.sleep(0 if polled else min(timeout_seconds, 0.01))
        return Polled(polled, size, next_offsets)

    async def commit(self, offsets: Mapping[Partition, int]) -> bool:
        """See `EventSource`."""
        self.commits.append(dict(offsets))
        owned = {partition: offset for partition, offset in offsets.items() if partition in self._records}
        if self.refuse_commits or not owned:
            return False
        self.committed |= owned
        return True

    async def pause(self) -> None:
        """See `EventSource`."""
        self.idles += 1
        self._paused = True
        await self._move()

    async def _move(self) -> bool:
        """Move positions to the start of the logs that were replaced; whether there are any."""
        moved, self._moved = self._moved, {}
        self._position |= moved
        if moved and self._listener:
            await self._listener.on_reset(moved)
        return bool(moved)

    def resume(self) -> None:
        """See `EventSource`."""
        self._paused = False
