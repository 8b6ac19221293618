"""Where each record of a run came to stand on the topic."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = -1


class RecordPosition(NamedTuple):
    """Where a record is on the topic."""

    partition: int
    offset: int


class SentRecords:
    """The number of the record at each place: eight bytes a record, because the rest can be made again from it."""

    def __init__(self) -> None:
        self._numbers: dict[int, array[int]] = {}
        self.records = 0

    def add(self, position: RecordPosition, number: int) -> None:
        """Take down that record `number` was acknowledged at `position`.

        Raises:
            ValueError: another one was acknowledged there.
        """
        numbers = self._numbers.setdefault(position.partition, array("q"))
        numbers.extend([_NOBODY] * (position.offset + 1 - len(numbers)))
        if numbers[position.offset] != _NOBODY:
            raise ValueError(f"the broker has acknowledged two records at {position}")
        numbers[position.offset] = number
        self.records += 1

    @property
    def ends(self) -> dict[int, int]:
        """The offset after the last record, by partition."""
        return {partition: len(numbers) for partition, numbers in sorted(self._numbers.items())}

    def number(self, position: RecordPosition) -> int | None:
        """Which record is at `position`; None where none of ours is."""
        numbers = self._numbers.get(position.partition, array("q"))
        number = numbers[position.offset] if 0 <= position.offset < len(numbers) else _NOBODY
        return None if number == _NOBODY else number

    def pages(self, size: int) -> Iterator[tuple[int, range]]:
        """Every partition in runs of at most `size` offsets."""
        for partition, end in self.ends.items():
            for start in range(0, end, size):
                yield partition, range(start, min(start + size, end))
