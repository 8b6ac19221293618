"""The dead letters that stand in the topic and are not settled.

A letter is settled when the progress of replays says so, or when another letter stands in its place: a replay that was
killed between its new letters and its progress leaves both. Such a letter is believed only after its claim has been
compared with what stands where it points to, because in a copy of the topic the offsets are others.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol, TypeVar

from worker.done import Done
from worker.letter import Foreign, Letter, read_letter
from worker.model import Place
from worker.ports import Backlog

_MAX_CLAIMS = 200_000
"""Claims that are kept in mind. There are as many as a killed replay had under way; of more, some letters are replayed
twice, which the view does not show."""

Identity = tuple[tuple[str, int, int], str | None]
"""The source record and the name of the metric."""


def identity(letter: Letter) -> Identity:
    """What failed: the same for a letter and for the one that a replay puts in its place."""
    return letter.source, letter.metric


class Sees(Protocol):
    """Somebody who looks at each letter."""

    def add(self, item: Letter | Foreign) -> None:
        """Look at one."""


Eyes = TypeVar("Eyes", bound=Sees)


class Standing:
    """What stands in a backlog from the moment that it is looked at.

    Attributes:
        extent: the offsets that stood there then.
        progress: what is done; it grows with what is found to be settled, and with what a replay does.
        parts: of the letter of an event, the metrics that a replay has put on the topic already, where it was killed
            before it took that down.
    """

    def __init__(self, backlog: Backlog, extent: Mapping[int, range], progress: Mapping[int, Done]) -> None:
        self._backlog = backlog
        self.extent = dict(sorted(extent.items()))
        self.progress = {partition: progress.get(partition) or Done() for partition in self.extent}
        self.parts: dict[tuple[Place, tuple[str, int, int]], set[str | None]] = {}
        self._claims: dict[Place, Identity] = {}

    @classmethod
    async def now(cls, backlog: Backlog) -> "Standing":
        """What stands there now.

        Raises:
            DependencyError: Kafka cannot be reached, or refuses.
        """
        extent, progress = await backlog.extent(), await backlog.progress()
        for partition, offsets in extent.items():
            known = progress.get(partition)
            if known is not None and known.first > offsets.stop:
                # The topic was made again: what was done are others' offsets.
                progress = {**progress, partition: Done(offsets.start)}
        return cls(backlog, extent, progress)

    async def look(self, eyes: Callable[[], Eyes]) -> Eyes:
        """Show each letter that is not settled to new eyes, and to others again where some turned out to be settled.

        Raises:
            DependencyError: Kafka does not hand the letters out.
        """
        seen = eyes()
        async for items in self.each():
            for item in items:
                if isinstance(item, Letter):
                    self._note(item)
                seen.add(item)
        if not self._claims:
            return seen
        seen = eyes()
        async for items in self.each():
            for item in items:
                if not self._is_replaced(item):
                    seen.add(item)
        return seen

    async def each(self, *, settled: bool = False) -> AsyncGenerator[list[Letter | Foreign]]:
        """Some letters at a time, in the order of the topic; with `settled` also those that are."""
        for partition, offsets in self.extent.items():
            done = self.progress[partition]
            done.add_range(done.first, offsets.start)
            after = offsets.start if settled else done.first
            async for records in self._backlog.read(partition, range(after, offsets.stop)):
                letters = []
                for record in records:
                    done.add_range(after, record.offset)  # there are none: compaction or an aborted transaction
                    after = record.offset + 1
                    if settled or record.offset not in done:
                        letters.append(read_letter(record))
                yield letters
            done.add_range(after, offsets.stop)

    async def at(self, place: Place) -> Letter | Foreign | None:
        """The letter at one place, settled or not; None where there is none."""
        offsets = self.extent.get(place.partition, range(0))
        if place.offset in offsets:
            async for records in self._backlog.read(place.partition, range(place.offset, place.offset + 1)):
                for record in records:
                    return read_letter(record)
        return None

    def is_settled(self, place: Place) -> bool:
        """Whether the progress of replays says that nothing is left to do about the letter at `place`."""
        done = self.progress.get(place.partition)
        return done is not None and place.offset in done

    def settle(self, place: Place) -> None:
        """Take down that nothing is left to do about the letter at `place`."""
        self.progress[place.partition].add(place.offset)

    def _note(self, letter: Letter) -> None:
        if len(self._claims) >= _MAX_CLAIMS or len(self.parts) >= _MAX_CLAIMS:
            return
        if letter.replaces is not None and not self.is_settled(letter.replaces):
            # Two replays at once leave two letters for one: the second is as good as replaced itself.
            twin = letter.replaces in self._claims
            self._claims[letter.place if twin else letter.replaces] = identity(letter)
        elif letter.part_of is not None and not self.is_settled(letter.part_of):
            self.parts.setdefault((letter.part_of, letter.source), set()).add(letter.metric)

    def _is_replaced(self, item: Letter | Foreign) -> bool:
        claim = self._claims.get(item.place)
        replaced = claim is not None and isinstance(item, Letter) and identity(item) == claim
        if replaced:
            self.settle(item.place)
        return replaced
