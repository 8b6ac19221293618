"""The position of each sent record on the topic."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.local.demo.expectations import RecordPosition

_NONE = -1


class SentRecords:
    """The number of the record at each position: eight bytes a record. The record can be made again from its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, array[int]] = {}
        self.records = 0

    def add(self, position: RecordPosition, number: int) -> None:
        """Add record `number`, which was acknowledged at `position`.

        Raises:
            ValueError: another record was acknowledged there.
        """
        numbers = self._numbers.setdefault(position.partition, array("q"))
        numbers.extend([_NONE] * (position.offset + 1 - len(numbers)))
        if numbers[position.offset] != _NONE:
            raise ValueError(f"the broker has acknowledged two records at {position}")
        numbers[position.offset] = number
        self.records += 1

    @property
    def ends(self) -> dict[int, int]:
        """The offset after the last record, by partition."""
        return {partition: len(numbers) for partition, numbers in sorted(self._numbers.items())}

    def number(self, position: RecordPosition) -> int | None:
        """The number of the record at `position`; None if no record was sent there."""
        numbers = self._numbers.get(position.partition, array("q"))
        number = numbers[position.offset] if 0 <= position.offset < len(numbers) else _NONE
        return None if number == _NONE else number

    def pages(self, size: int) -> Iterator[tuple[int, range]]:
        """The offsets of each partition, in ranges of at most `size`."""
        for partition, end in self.ends.items():
            for start in range(0, end, size):
                yield partition, range(start, min(start + size, end))
