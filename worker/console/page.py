"""A page of a list that is too long for one."""

from typing import NamedTuple


class Page(NamedTuple):
    """The entries of a list that are on a page; the first page has number 1.

    Attributes:
        total: entries of the whole list.
        size: entries of a page; the last one may have less.
    """

    number: int
    total: int
    size: int

    @property
    def pages(self) -> int:
        """Number of pages; an empty list has one."""
        return max(1, -(-self.total // self.size))

    @property
    def entries(self) -> slice:
        """The entries of this page."""
        return slice(self._start, self._start + self.size)

    @property
    def first(self) -> int:
        """Number of the first entry of this page; 0 if the list is empty."""
        return min(self._start + 1, self.total)

    @property
    def last(self) -> int:
        """Number of the last entry of this page."""
        return min(self._start + self.size, self.total)

    @property
    def _start(self) -> int:
        return (self.number - 1) * self.size
