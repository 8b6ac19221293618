"""What dead letters say of one another: which one stands in whose place.

A replay that was killed between its new letters and its progress leaves both the old and the new. What a letter says of
another is believed only after it has been compared with what stands there, because in a copy of the topic the offsets
are others.

1. A letter that another one *replaces* is settled.
2. Of two that replace the same one, or are the same part of it, the second is: two replays ran at once.
3. Where the letter of an event stands that a killed replay had begun to divide, it stands for all its *parts*.
4. If it was replaced as a whole instead, by a worker that refuses such events, the whole has what the parts had: they
   are settled.
"""

from collections.abc import Mapping

from worker.core.model import RecordPosition
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.headers import MAX_METRIC_HEADER, format_metric_header
from worker.dead_letters.progress import ReplayProgress

MAX_SUPERSESSIONS = 100_000
"""Letters out of replays whose claims are kept in mind. Of more, those that a killed replay has left double stay so,
which the view does not show."""

Source = tuple[str, int, int]
Identity = tuple[Source, str | None]
"""The source record and the name of the metric."""
Whole = tuple[RecordPosition, Source]
"""The letter of an event: where it stands, and what failed there."""


def identify(letter: DeadLetter) -> Identity:
    """What failed: the same for a letter and for the one that a replay puts in its place."""
    return letter.source, letter.metric


def has_exact_header(metric: str) -> bool:
    """Whether the header has all of a metric's name, so that it stands for no other name."""
    return len(metric) < MAX_METRIC_HEADER and "\\" not in metric and format_metric_header(metric) == metric


class Supersessions:
    """What has been learned, and by it what is settled.

    Args:
        progress: by partition; what is found to be settled goes there too.
    """

    def __init__(self, progress: Mapping[int, ReplayProgress]) -> None:
        self._progress = progress
        self._replaced: dict[RecordPosition, Identity] = {}
        self._first: dict[int, RecordPosition] = {}
        self._parts: dict[Whole, set[str | None]] = {}
        self._divided: set[Whole] = set()
        self._replaced_whole: set[Whole] = set()
        self._kept = 0

    def __bool__(self) -> bool:
        """Whether there are any, so that it must be asked what they cover."""
        return bool(self._replaced or self._parts)

    def is_settled(self, position: RecordPosition) -> bool:
        """Whether nothing is left to do about the letter at `place`."""
        done = self._progress.get(position.partition)
        return done is not None and position.offset in done

    def mark_settled(self, position: RecordPosition) -> None:
        """Take down that nothing is left to do about the letter at `place`."""
        self._progress[position.partition].mark_done(position.offset)

    def is_superseded(self, item: DeadLetter | ForeignRecord) -> bool:
        """Whether another letter stands for this one, or nothing is left to do about it."""
        if self.is_settled(item.position):
            return True
        if not self._divided or isinstance(item, ForeignRecord) or item.part_of is None:
            return False
        return (item.part_of, item.source) in self._divided

    def has_part(self, whole: Whole, metric: str) -> bool:
        """Whether a letter of `metric` stands that a replay of `whole` had written before it was killed."""
        return metric in self._parts.get(whole, ())

    def learn_from(self, letter: DeadLetter) -> bool:
        """Take down what `letter` says of others, and what others have said of it.

        Returns whether anything of that is new to letters that were shown before.
        """
        learned = self._kept < MAX_SUPERSESSIONS and self._take_down(letter)
        if self.is_settled(letter.position):
            return learned
        if self._replaced.get(letter.position) == identify(letter) or self._is_part_of_replaced(letter):
            self.mark_settled(letter.position)
            return True
        whole = (letter.position, letter.source)
        if letter.metric is None and whole in self._parts and whole not in self._divided:
            self._divided.add(whole)
            return True
        return learned

    def _take_down(self, letter: DeadLetter) -> bool:
        origin = letter.replaces or letter.part_of
        if origin is None:
            return False
        learned = self._take_down_part(letter)
        if letter.replaces is not None and letter.metric is None:
            learned |= self._take_down_whole((letter.replaces, letter.source))
        if letter.replaces is None and not has_exact_header(letter.metric or ""):
            return learned  # another metric of the event may have the same header; one letter too many harms nothing
        key = hash((origin, identify(letter)))
        if key not in self._first:
            self._first[key] = letter.position
            self._kept += 1
        if self._first[key] != letter.position:
            learned |= self._take_down_replaced(letter.position, letter)
        elif letter.replaces is not None and not self.is_settled(letter.replaces):
            learned |= self._take_down_replaced(letter.replaces, letter)
        return learned

    def _take_down_part(self, letter: DeadLetter) -> bool:
        if letter.part_of is None:
            return False
        whole = (letter.part_of, letter.source)
        parts = self._parts.setdefault(whole, set())
        if letter.metric in parts:
            return False
        parts.add(letter.metric)
        self._kept += 1
        return not self.is_settled(letter.part_of)

    def _take_down_whole(self, whole: Whole) -> bool:
        if whole in self._replaced_whole:
            return False
        self._replaced_whole.add(whole)
        return whole in self._parts

    def _take_down_replaced(self, position: RecordPosition, letter: DeadLetter) -> bool:
        known = position in self._replaced
        self._replaced[position] = identify(letter)
        return not known

    def _is_part_of_replaced(self, letter: DeadLetter) -> bool:
        return letter.part_of is not None and (letter.part_of, letter.source) in self._replaced_whole
