"""Which dead letters were replaced by others.

A replay that is killed after it has written new dead letters, and before the settlement, leaves the old ones open. Each
new one names the offset of the old one, which settles that. In a copy of the topic the offsets differ. So this is
believed only if source and metric of both are the same, and the new one was replayed once more than the old one: else
an old dead letter could replace the newest.

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
    """What failed. It is the same for a dead letter and for the one that replaces it."""
    return letter.source, letter.metric


class Supersessions:
    """Collects which dead letters were replaced."""

    def __init__(self) -> None:
        self._replaced: dict[DeadLetterPosition, int] = {}
        self._replacements: dict[tuple[DeadLetterPosition, int], DeadLetterPosition] = {}

    def register(self, letter: DeadLetter) -> None:
        """Register what `letter` replaces: a dead letter, and an earlier replacement of the same one."""
        if letter.replaces is None:
            return
        self._add(letter.replaces, _hash(letter, letter.replays - 1))
        identity = _hash(letter, letter.replays)
        earlier = self._replacements.get((letter.replaces, identity))
        if earlier is not None and earlier.partition == letter.position.partition:
            self._add(earlier, identity)
        elif len(self._replacements) >= MAX_SUPERSESSIONS:
            del self._replacements[next(iter(self._replacements))]
        self._replacements[letter.replaces, identity] = letter.position

    def _add(self, position: "DeadLetterPosition", identity: int) -> None:
        if len(self._replaced) >= MAX_SUPERSESSIONS:
            del self._replaced[next(iter(self._replaced))]
        self._replaced[position] = identity

    def contains(self, letter: DeadLetter) -> bool:
        """Whether `letter` was replaced."""
        return bool(self._replaced) and self._replaced.get(letter.position) == _hash(letter, letter.replays)


def _hash(letter: DeadLetter, replays: int) -> int:
    return hash((identify_failure(letter), replays))
