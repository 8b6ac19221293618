"""The dead letters that stand in the topic and are not settled.

A letter is settled when the progress of replays says so, or when another letter stands in its place: a replay that was
killed between its new letters and its progress leaves both. Such a letter is believed only after its claim has been
compared with what stands where it points to, because in a copy of the topic the offsets are others.
"""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from typing import Protocol, TypeVar

from worker.letters.dead_letter import MAX_METRIC, metric_header
from worker.letters.done import Done
from worker.letters.letter import Foreign, Letter, read_letter
from worker.model import Place
from worker.ports import Backlog

_MAX_CLAIMS = 100_000
"""Letters out of replays whose claims are kept in mind. Of more, those that a killed replay has left double stay so,
which the view does not show."""

Identity = tuple[tuple[str, int, int], str | None]
"""The source record and the name of the metric."""


def identity(letter: Letter) -> Identity:
    """What failed: the same for a letter and for the one that a replay puts in its place."""
    return letter.source, letter.metric


def is_plain(metric: str) -> bool:
    """Whether the header has all of a metric's name, so that it stands for no other name."""
    return len(metric) < MAX_METRIC and "\\" not in metric and metric_header(metric) == metric


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
        # Where more is done than there ever was, the topic was made again: what was done are others' offsets.
        self._stale = {
            partition: done
            for partition, done in progress.items()
            if partition in self.extent and done.end > self.extent[partition].stop
        }
        self.progress = {
            partition: Done() if partition in self._stale else progress.get(partition, Done())
            for partition in self.extent
        }
        self.parts: dict[tuple[Place, tuple[str, int, int]], set[str | None]] = {}
        self._claims: dict[Place, Identity] = {}
        self._first: dict[int, Place] = {}
        self._divided: set[tuple[Place, tuple[str, int, int]]] = set()
        for partition, offsets in self.extent.items():
            done = self.progress[partition]
            done.add_range(done.first, offsets.start)

    @classmethod
    async def now(cls, backlog: Backlog) -> "Standing":
        """What stands there now.

        Raises:
            DependencyError: Kafka cannot be reached, or refuses.
        """
        # The progress first: what another replay does in between is not taken for that of an earlier topic.
        progress = await backlog.progress()
        return cls(backlog, await backlog.extent(), progress)

    async def look(self, eyes: Callable[[], Eyes]) -> Eyes:
        """Show each letter that is not settled to new eyes; to others again, while a look has taught something.

        Raises:
            DependencyError: Kafka does not hand the letters out.
        """
        # Where the progress is not all there, a letter that is done may be the only one to tell that another is.
        thorough = not all(done.is_complete for done in self.progress.values())
        while True:
            seen, learned = eyes(), False
            async for items in self.each(settled=thorough):
                for item in items:
                    if isinstance(item, Letter):
                        learned |= self._learn_from(item)
                    if not ((thorough or self._claims or self._divided) and self._is_covered(item)):
                        seen.add(item)
            if not learned:
                return seen

    async def each(self, *, settled: bool = False) -> AsyncGenerator[list[Letter | Foreign]]:
        """Some letters at a time, in the order of the topic; with `settled` also those that are."""
        for partition, offsets in self.extent.items():
            done = self.progress[partition]
            after = offsets.start if settled else done.first
            async for records in self._backlog.read(partition, range(after, offsets.stop)):
                letters = []
                for record in records:
                    done.add_range(after, record.offset)  # there are none: compaction or an aborted transaction
                    after = record.offset + 1
                    if settled or record.offset not in done:
                        letters.append(read_letter(record))
                if self._divided and not settled:
                    letters = [letter for letter in letters if not self._is_covered(letter)]
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

    async def save(self, partitions: Collection[int] | None = None) -> None:
        """Keep the progress of some partitions, or of all.

        Raises:
            DependencyError: it is not acknowledged.
        """
        chosen = self.progress if partitions is None else partitions
        await self._backlog.save({partition: self.progress[partition] for partition in chosen}, self._stale)

    def _learn_from(self, letter: Letter) -> bool:
        """Take down what `letter` says of others, and what others have said of it; whether any of that is new."""
        if not (letter.replays or self._claims or self.parts):
            return False
        said = self._origin_of(letter)
        if self._claims.get(letter.place) == identity(letter) and not self.is_settled(letter.place):
            self.settle(letter.place)
            return True
        whole = (letter.place, letter.source)
        if letter.metric is None and whole in self.parts and whole not in self._divided:
            self._divided.add(whole)
            return True
        return said

    def _origin_of(self, letter: Letter) -> bool:
        origin = letter.replaces or letter.part_of
        if origin is None or len(self._first) >= _MAX_CLAIMS:
            return False
        mine = identity(letter)
        learned = self._part_of(letter)
        if letter.replaces is None and not is_plain(letter.metric or ""):
            return learned  # another metric of the event may have the same header; one letter too many harms nothing
        # Two replays at once leave two letters for one: the second is as good as replaced itself.
        if self._first.setdefault(hash((origin, mine)), letter.place) != letter.place:
            learned |= self._claim(letter.place, mine)
        elif letter.replaces is not None and not self.is_settled(letter.replaces):
            learned |= self._claim(letter.replaces, mine)
        return learned

    def _part_of(self, letter: Letter) -> bool:
        if letter.part_of is None or self.is_settled(letter.part_of):
            return False
        parts = self.parts.setdefault((letter.part_of, letter.source), set())
        known = letter.metric in parts
        parts.add(letter.metric)
        return not known

    def _claim(self, place: Place, what: Identity) -> bool:
        known = place in self._claims
        self._claims[place] = what
        return not known

    def _is_covered(self, item: Letter | Foreign) -> bool:
        """Whether another letter stands for this one, or nothing is left to do about it.

        As long as the letter of an event stands that a killed replay had begun to divide, it stands for all its parts.
        """
        if self.is_settled(item.place):
            return True
        if not self._divided or isinstance(item, Foreign) or item.part_of is None:
            return False
        return (item.part_of, item.source) in self._divided and not self.is_settled(item.part_of)
