"""Reads the open dead letters: those that are not settled.

A dead letter is settled when the progress of replays says so, or when another one supersedes it.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Protocol, TypeVar

from worker.core.model import DeadLetterPosition, first_offset_of
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.record_format import parse_dead_letter
from worker.ports import DeadLetterReader
from worker.replay.supersessions import Supersessions


class DeadLetterVisitor(Protocol):
    """Is shown the open dead letters, one by one."""

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Process one record."""


Visitor = TypeVar("Visitor", bound=DeadLetterVisitor)


class DeadLetterScan:
    """The dead letters that are in the topic when the scan begins; later ones are not read.

    Every method raises DependencyError when Kafka cannot be reached, or refuses.

    Attributes:
        offset_ranges: the offsets of each partition at that moment.
        progress: the settled dead letters, by partition. A scan adds superseded ones, a replay those that it has done.
        supersessions: known after `scan`.
    """

    def __init__(
        self, reader: DeadLetterReader, offset_ranges: Mapping[int, range], progress: Mapping[int, ReplayProgress]
    ) -> None:
        self._reader = reader
        self.offset_ranges = dict(sorted(offset_ranges.items()))
        # Progress beyond the end of a partition is that of a deleted topic of the same name.
        self._stale = {
            partition: done
            for partition, done in progress.items()
            if partition in self.offset_ranges and done.end > self.offset_ranges[partition].stop
        }
        self.progress = {
            partition: ReplayProgress() if partition in self._stale else progress.get(partition, ReplayProgress())
            for partition in self.offset_ranges
        }
        self.supersessions = Supersessions(self.progress)
        for partition, offsets in self.offset_ranges.items():
            done = self.progress[partition]
            done.mark_range_done(done.first_open, offsets.start)

    @classmethod
    async def begin(cls, reader: DeadLetterReader) -> "DeadLetterScan":
        """Load the progress, then the offsets, and return the scan."""
        # In this order: what another replay does meanwhile must not look like progress of a deleted topic.
        progress = await reader.load_progress()
        return cls(reader, await reader.fetch_offset_ranges(), progress)

    async def scan(self, new_visitor: Callable[[], Visitor]) -> Visitor:
        """Show every open dead letter to a new visitor. Repeat until a pass finds no new supersession."""
        # If progress was forgotten, a settled dead letter may be the only one that says that another is superseded.
        include_settled = any(done.has_forgotten for done in self.progress.values())
        supersessions = self.supersessions
        while True:
            visitor, has_learned = new_visitor(), False
            async for items in self.read_batches(include_settled=include_settled):
                for item in items:
                    if isinstance(item, DeadLetter) and (item.replays or supersessions):
                        has_learned |= supersessions.register(item)
                    if not ((include_settled or supersessions) and supersessions.is_superseded(item)):
                        visitor.visit(item)
            if not has_learned:
                return visitor

    async def find_supersessions(self) -> None:
        """Scan only to find out which dead letters others supersede."""
        await self.scan(_NullVisitor)

    async def read_batches(self, *, include_settled: bool = False) -> AsyncGenerator[list[DeadLetter | ForeignRecord]]:
        """Yield dead letters in the order of each partition: the open ones, or all."""
        for partition, offsets in self.offset_ranges.items():
            done = self.progress[partition]
            following = offsets.start if include_settled else done.first_open
            async with aclosing(self._reader.read(partition, range(following, offsets.stop))) as batches:
                async for records in batches:
                    letters = []
                    some_are_done = done.end > records[0].offset
                    for record in records:
                        offset = record.offset
                        if offset != following:  # gaps are left by compaction and aborted transactions
                            done.mark_range_done(following, first_offset_of(record))
                        following = offset + 1
                        if include_settled or not (some_are_done and offset in done):
                            letters.append(parse_dead_letter(record))
                    if self.supersessions and not include_settled:
                        letters = [letter for letter in letters if not self.supersessions.is_superseded(letter)]
                    yield letters
            done.mark_range_done(following, offsets.stop)

    async def find(self, position: DeadLetterPosition) -> DeadLetter | ForeignRecord | None:
        """The record at `position`, settled or not; None if there is none."""
        if position.offset in self.offset_ranges.get(position.partition, range(0)):
            offsets = range(position.offset, position.offset + 1)
            async with aclosing(self._reader.read(position.partition, offsets)) as batches:
                async for records in batches:
                    return parse_dead_letter(records[0])
        return None

    async def save_progress(self, partitions: Collection[int] | None = None) -> None:
        """Save the progress of some partitions, or of all."""
        saved = self.progress if partitions is None else partitions
        await self._reader.save_progress({partition: self.progress[partition] for partition in saved}, self._stale)


class _NullVisitor:
    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Ignore `item`."""
