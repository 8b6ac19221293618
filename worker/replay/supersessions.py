"""Which dead letters were replaced by others.

A replay that is killed after it has written new dead letters, and before the settlement, leaves the old ones open. Each
new one names the offset of the old one, which settles that. In a copy of the topic the offsets differ. So this is
believed only if source and metric of both are the same (or it names the metric that an edit has renamed), and the new
one was replayed once more than the old one: else an old dead letter could replace the newest.

Two replays at once both write a new dead letter for the same old one. Of those in one partition only the last one
counts: its settlements are the later ones.
"""

from typing import TYPE_CHECKING

from worker.dead_letters.dead_letter import DeadLetter

if TYPE_CHECKING:
    from worker.core.model import DeadLetterPosition

MAX_SUPERSESSIONS = 100_000
"""How many are known, the latest ones: the settlements name the older ones, but for those of killed replays."""

Identity = tuple[tuple[str, int, int], str | None]
"""The source record and the name of the metric, None for the whole event."""


def identify_failure(letter: DeadLetter) -> Identity:
    """What failed. It is the same for a dead letter and for the one that replaces it, but for renamed metrics."""
    return letter.source, letter.metric


class Supersessions:
    """Collects which dead letters were replaced."""

    def __init__(self) -> None:
        self._replaced: dict[DeadLetterPosition, int] = {}
        self._replacements: dict[tuple[DeadLetterPosition, int], tuple[DeadLetterPosition, int]] = {}

    def register(self, letter: DeadLetter) -> None:
        """Register what `letter` replaces: a dead letter, and an earlier replacement of the same one."""
        if letter.replaces is None:
            return
        own = _hash(identify_failure(letter), letter.replays)
        metric = letter.metric if letter.replaced_metric is None else letter.replaced_metric
        replaced = _hash((letter.source, metric), letter.replays - 1)
        self._add(letter.replaces, replaced)
        earlier = self._replacements.get((letter.replaces, replaced))
        if earlier is not None and earlier[0].partition == letter.position.partition:
            self._add(*earlier)
        elif len(self._replacements) >= MAX_SUPERSESSIONS:
            del self._replacements[next(iter(self._replacements))]
        self._replacements[letter.replaces, replaced] = letter.position, own

    def _add(self, position: "DeadLetterPosition", identity: int) -> None:
        if len(self._replaced) >= MAX_SUPERSESSIONS:
            del self._replaced[next(iter(self._replaced))]
        self._replaced[position] = identity

    def contains(self, letter: DeadLetter) -> bool:
        """Whether `letter` was replaced."""
        known = self._replaced
        return bool(known) and known.get(letter.position) == _hash(identify_failure(letter), letter.replays)


def _hash(identity: Identity, replays: int) -> int:
    return hash((identity, replays))
