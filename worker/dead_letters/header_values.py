"""The values of headers, parsed. Each function raises ValueError for a value of another form."""

from worker.core.model import DeadLetterPosition

_MAX_TEXT = 4_096
"""Bytes of a header's text; the cache of shared headers keeps it, and others can write to the topic too."""
_MAX_DIGITS = 20
MAX_INT32, MAX_INT64 = 2**31 - 1, 2**63 - 1


def parse_text(value: bytes) -> str:
    """A short text."""
    if len(value) > _MAX_TEXT:
        raise ValueError(f"a text of {len(value)} bytes is too long")  # an error is not cached
    return value.decode("utf-8")


def parse_integer(value: bytes) -> int:
    """An integer of a few digits."""
    if len(value) > _MAX_DIGITS:
        raise ValueError(f"{value[:40]!r} is not an integer")
    return int(value)


def parse_natural(value: bytes, largest: int) -> int:
    """An integer from 0 to `largest`."""
    if len(value) <= _MAX_DIGITS and 0 <= (number := int(value)) <= largest:
        return number
    raise ValueError(f"{parse_integer(value)} is out of range")


def parse_position(value: bytes) -> DeadLetterPosition:
    """PARTITION:OFFSET."""
    partition, _, offset = value.partition(b":")
    return DeadLetterPosition(parse_natural(partition, MAX_INT32), parse_natural(offset, MAX_INT64))
