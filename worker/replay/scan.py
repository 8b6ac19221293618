"""The dead letters that stand in the topic and are not settled.

A letter is settled when the progress of replays says so, or when another letter stands in its place.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Protocol, TypeVar

from worker.core.model import RecordPosition
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.record_format import parse_dead_letter
from worker.ports import DeadLetterReader
from worker.replay.supersessions import Supersessions


class DeadLetterVisitor(Protocol):
    """Somebody who looks at each letter."""

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        """Look at one."""


Visitor = TypeVar("Visitor", bound=DeadLetterVisitor)


class DeadLetterScan:
    """What stands in a backlog from the moment that it is looked at.

    Attributes:
        extent: the offsets that stood there then.
        progress: what is done; it grows with what is found to be settled, and with what a replay does.
        claims: what a look has found the letters to say of one another.
    """

    def __init__(
        self, backlog: DeadLetterReader, extent: Mapping[int, range], progress: Mapping[int, ReplayProgress]
    ) -> None:
        self._backlog = backlog
        self.extent = dict(sorted(extent.items()))
        # Where more is done than there ever was, the topic was made again: what was done are others' offsets.
        self._stale = {
            partition: done
            for partition, done in progress.items()
            if partition in self.extent and done.end > self.extent[partition].stop
        }
        self.progress = {
            partition: ReplayProgress() if partition in self._stale else progress.get(partition, ReplayProgress())
            for partition in self.extent
        }
        self.supersessions = Supersessions(self.progress)
        for partition, offsets in self.extent.items():
            done = self.progress[partition]
            done.mark_range_done(done.first_open, offsets.start)

    @classmethod
    async def begin(cls, backlog: DeadLetterReader) -> "DeadLetterScan":
        """What stands there now.

        Raises:
            DependencyError: Kafka cannot be reached, or refuses.
        """
        # The progress first: what another replay does in between is not taken for that of an earlier topic.
        progress = await backlog.load_progress()
        return cls(backlog, await backlog.offset_ranges(), progress)

    async def scan(self, eyes: Callable[[], Visitor]) -> Visitor:
        """Show each letter that is not settled to new eyes; to others again, while a look has taught something.

        Raises:
            DependencyError: Kafka does not hand the letters out.
        """
        # Where the progress is not all there, a letter that is done may be the only one to tell that another is.
        thorough = not all(done.is_complete for done in self.progress.values())
        claims = self.supersessions
        while True:
            seen, learned = eyes(), False
            async for items in self.read_batches(include_settled=thorough):
                for item in items:
                    if isinstance(item, DeadLetter) and (item.replays or claims):
                        learned |= claims.learn_from(item)
                    if not ((thorough or claims) and claims.is_superseded(item)):
                        seen.visit(item)
            if not learned:
                return seen

    async def read_batches(self, *, include_settled: bool = False) -> AsyncGenerator[list[DeadLetter | ForeignRecord]]:
        """Some letters at a time, in the order of the topic; with `settled` also those that are."""
        for partition, offsets in self.extent.items():
            done = self.progress[partition]
            after = offsets.start if include_settled else done.first_open
            async with aclosing(self._backlog.read(partition, range(after, offsets.stop))) as some:
                async for records in some:
                    letters = []
                    some_are_done = done.end > records[0].offset
                    for record in records:
                        offset = record.offset
                        if offset != after:
                            done.mark_range_done(after, offset)  # there are none: compaction or an aborted transaction
                        after = offset + 1
                        if include_settled or not (some_are_done and offset in done):
                            letters.append(parse_dead_letter(record))
                    if self.supersessions and not include_settled:
                        letters = [letter for letter in letters if not self.supersessions.is_superseded(letter)]
                    yield letters
            done.mark_range_done(after, offsets.stop)

    async def find(self, position: RecordPosition) -> DeadLetter | ForeignRecord | None:
        """The letter at one position, settled or not; None where there is none."""
        if position.offset in self.extent.get(position.partition, range(0)):
            only = range(position.offset, position.offset + 1)
            async with aclosing(self._backlog.read(position.partition, only)) as some:
                async for records in some:
                    return parse_dead_letter(records[0])
        return None

    async def save(self, partitions: Collection[int] | None = None) -> None:
        """Keep the progress of some partitions, or of all.

        Raises:
            DependencyError: it is not acknowledged.
        """
        chosen = self.progress if partitions is None else partitions
        await self._backlog.save_progress({partition: self.progress[partition] for partition in chosen}, self._stale)
