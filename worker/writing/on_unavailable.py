"""ON_UNAVAILABLE: what an outage of the store means for the rows in flight."""

from enum import StrEnum


class OnUnavailable(StrEnum):
    """What becomes of the rows in flight when the store is unavailable for longer than the retry budget."""

    DEAD_LETTER = "dead_letter"
    HOLD = "hold"
