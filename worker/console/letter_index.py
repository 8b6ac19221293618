"""Where the open dead letters of each cause are, so that a page of them is found without another scan."""

from array import array

from worker.console.page import Page
from worker.core.model import DeadLetterPosition

MAX_LETTERS = 2_000_000
"""Positions that are kept, 12 bytes each; anybody can write to the topic. Later ones are counted, and not listed."""


class LetterIndex:
    """Positions by the ID of a cause, in the order in which they were added."""

    def __init__(self, max_letters: int = MAX_LETTERS) -> None:
        self._max_letters = max_letters
        self._positions: dict[str, tuple[array[int], array[int]]] = {}
        self._known = 0

    def add(self, cause: str, position: DeadLetterPosition) -> None:
        """Add a dead letter, unless there are too many."""
        if self._known >= self._max_letters:
            return
        self._known += 1
        arrays = self._positions.get(cause)
        if arrays is None:
            arrays = self._positions[cause] = (array("i"), array("q"))
        arrays[0].append(position.partition)
        arrays[1].append(position.offset)

    def count(self, cause: str) -> int:
        """How many dead letters of a cause are known."""
        arrays = self._positions.get(cause)
        return len(arrays[0]) if arrays else 0

    def find(self, cause: str, page: Page) -> list[DeadLetterPosition]:
        """The positions on a page."""
        partitions, offsets = self._positions.get(cause, (array("i"), array("q")))
        return list(map(DeadLetterPosition, partitions[page.entries], offsets[page.entries]))
