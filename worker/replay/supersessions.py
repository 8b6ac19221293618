"""Which dead letters are superseded by others.

A replay that was killed after it wrote new dead letters, and before it saved its progress, leaves both the old and the
new. A new one names the old one. This is believed only if source and metric of both are the same, because in a copy of
the topic the offsets differ.

1. A dead letter that another one *replaces* is settled.
2. If two replace the same one, or are the same part of it, the second is settled: two replays ran at once.
3. An open dead letter of an event supersedes its *parts*: metrics for which a killed replay wrote dead letters.
4. If the dead letter of an event was replaced as a whole, by a worker that refuses such events, its parts are settled.
"""

from collections.abc import Mapping

from worker.core.model import DeadLetterPosition
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.headers import MAX_METRIC_HEADER, format_metric_header
from worker.dead_letters.progress import ReplayProgress

MAX_SUPERSESSIONS = 100_000
"""Supersessions that are kept in memory. Without the others a killed replay leaves duplicates, which the view hides."""

Source = tuple[str, int, int]
Identity = tuple[Source, str | None]
"""The source record and the name of the metric, None for the whole event."""
EventLetter = tuple[DeadLetterPosition, Source]
"""The dead letter of an event: its position, and the source record."""


def identify(letter: DeadLetter) -> Identity:
    """What failed. It is the same for a dead letter and for the one that replaces it."""
    return letter.source, letter.metric


def fits_header(metric: str) -> bool:
    """Whether the header contains the whole name, so that no other name has the same header."""
    return len(metric) < MAX_METRIC_HEADER and "\\" not in metric and format_metric_header(metric) == metric


class Supersessions:
    """Collects which dead letters supersede which.

    Args:
        progress: by partition; settled dead letters are marked as done there.
    """

    def __init__(self, progress: Mapping[int, ReplayProgress]) -> None:
        self._progress = progress
        self._replaced: dict[DeadLetterPosition, Identity] = {}
        self._first: dict[int, DeadLetterPosition] = {}
        self._parts: dict[EventLetter, set[str | None]] = {}
        self._open_events: set[EventLetter] = set()
        self._replaced_events: set[EventLetter] = set()
        self._count = 0

    def __bool__(self) -> bool:
        """Whether any dead letter may be superseded."""
        return bool(self._replaced or self._parts)

    def is_settled(self, position: DeadLetterPosition) -> bool:
        """Whether the dead letter at `position` is done."""
        done = self._progress.get(position.partition)
        return done is not None and position.offset in done

    def mark_settled(self, position: DeadLetterPosition) -> None:
        """Mark the dead letter at `position` as done."""
        self._progress[position.partition].mark_done(position.offset)

    def is_superseded(self, item: DeadLetter | ForeignRecord) -> bool:
        """Whether the dead letter is settled, or is a part of an open one."""
        if self.is_settled(item.position):
            return True
        if not self._open_events or isinstance(item, ForeignRecord) or item.part_of is None:
            return False
        return (item.part_of, item.source) in self._open_events

    def has_part(self, event: EventLetter, metric: str) -> bool:
        """Whether a killed replay of `event` has already written the dead letter of `metric`."""
        return metric in self._parts.get(event, ())

    def register(self, letter: DeadLetter) -> bool:
        """Register what `letter` supersedes, and settle it if it is superseded itself.

        Returns whether this may change the answer for dead letters that were registered before.
        """
        has_learned = self._count < MAX_SUPERSESSIONS and self._register_origin(letter)
        if self.is_settled(letter.position):
            return has_learned
        if self._replaced.get(letter.position) == identify(letter) or self._is_part_of_replaced(letter):
            self.mark_settled(letter.position)
            return True
        event = (letter.position, letter.source)
        if letter.metric is None and event in self._parts and event not in self._open_events:
            self._open_events.add(event)
            return True
        return has_learned

    def _register_origin(self, letter: DeadLetter) -> bool:
        origin = letter.replaces or letter.part_of
        if origin is None:
            return False
        has_learned = self._register_part(letter)
        if letter.replaces is not None and letter.metric is None:
            has_learned |= self._register_replaced_event((letter.replaces, letter.source))
        if letter.replaces is None and not fits_header(letter.metric or ""):
            return has_learned  # another metric of the event may have the same header; a duplicate does no harm
        key = hash((origin, identify(letter)))
        if key not in self._first:
            self._first[key] = letter.position
            self._count += 1
        if self._first[key] != letter.position:
            has_learned |= self._register_replaced(letter.position, letter)
        elif letter.replaces is not None and not self.is_settled(letter.replaces):
            has_learned |= self._register_replaced(letter.replaces, letter)
        return has_learned

    def _register_part(self, letter: DeadLetter) -> bool:
        if letter.part_of is None:
            return False
        parts = self._parts.setdefault((letter.part_of, letter.source), set())
        if letter.metric in parts:
            return False
        parts.add(letter.metric)
        self._count += 1
        return not self.is_settled(letter.part_of)

    def _register_replaced_event(self, event: EventLetter) -> bool:
        if event in self._replaced_events:
            return False
        self._replaced_events.add(event)
        return event in self._parts

    def _register_replaced(self, position: DeadLetterPosition, letter: DeadLetter) -> bool:
        is_known = position in self._replaced
        self._replaced[position] = identify(letter)
        return not is_known

    def _is_part_of_replaced(self, letter: DeadLetter) -> bool:
        return letter.part_of is not None and (letter.part_of, letter.source) in self._replaced_events
