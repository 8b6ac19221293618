"""Which dead letters were replaced by others.

A replay that is killed after it has written new dead letters, and before the settlement, leaves the old ones open. Each
new one names the old one, which settles that. This is believed only if source and metric of both are the same, because
in a copy of the topic the offsets differ.
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

    def register(self, letter: DeadLetter) -> None:
        """Register the dead letter that `letter` replaces, if it does."""
        if letter.replaces is None or letter.replaces == letter.position:
            return
        if len(self._replaced) >= MAX_SUPERSESSIONS:
            del self._replaced[next(iter(self._replaced))]
        self._replaced[letter.replaces] = hash(identify_failure(letter))

    def contains(self, letter: DeadLetter) -> bool:
        """Whether `letter` was replaced."""
        return bool(self._replaced) and self._replaced.get(letter.position) == hash(identify_failure(letter))
