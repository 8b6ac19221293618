"""In which order the overview lists causes."""

from collections.abc import Sequence
from enum import StrEnum

from worker.core.errors import ErrorClass
from worker.dead_letters.statistics import CauseGroup

_CLASSES = list(ErrorClass)


class CauseOrder(StrEnum):
    """An order, as the address of the overview names it. Within a class, the cause with the most is the first."""

    NEWEST = "newest"
    COUNT = "count"
    CLASS = "class"

    @property
    def path(self) -> str:
        """The address of the overview in this order."""
        return "/" if self is CauseOrder.NEWEST else f"/?sort={self}"

    def sort(self, newest_first: Sequence[CauseGroup]) -> Sequence[CauseGroup]:
        """The causes in this order; where it does not decide, the newest is the first."""
        if self is CauseOrder.NEWEST:
            return newest_first
        most_first = sorted(newest_first, key=lambda group: -group.count)
        if self is CauseOrder.COUNT:
            return most_first
        return sorted(most_first, key=lambda group: _CLASSES.index(group.cause.error_class))
