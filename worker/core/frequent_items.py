"""Which of many items occur most, in memory that does not grow with hostile input."""

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)

_MAX_ITEMS = 1_000


class FrequentItems(Generic[Item]):
    """Counts items. When there are too many different ones, the rarer half is forgotten.

    So the number of an item may be too low, and an item that occurs often is found whenever it begins to.
    """

    def __init__(self, max_items: int = _MAX_ITEMS) -> None:
        self._counts: Counter[Item] = Counter()
        self._max_items = max_items

    def add(self, numbers: Mapping[Item, int]) -> None:
        """Add to the number of each item."""
        self._counts.update(numbers)
        if len(self._counts) > self._max_items:
            self._counts = Counter(dict(self._counts.most_common(self._max_items // 2)))

    def most_common(self, limit: int) -> list[tuple[Item, int]]:
        """The items that occur most, and their numbers."""
        return self._counts.most_common(limit)
