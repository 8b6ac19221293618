"""Bounds the memory that a JSON document takes once parsed, before it is parsed.

An object of one field takes 250 bytes for 8 bytes of text, an empty array 88 for 3. No document has more values than
commas and opening brackets, and one.
"""

from worker.core.errors import InvalidEvent

MAX_BYTES = 8 * 1024 * 1024
"""Size of the largest value that is parsed. Its text takes up to 32 MiB, because one character beyond U+FFFF makes
Python store each with four bytes; and as much again once parsed."""
MAX_VALUES = 250_000
"""Commas and opening brackets in the largest value that is parsed: 30 MiB of memory at most."""
CHEAP_BYTES = 64 * 1024
"""A value of this size need not be counted."""


def check_parsing_cost(value: bytes) -> None:
    """Check that `value` may be parsed. For a large one it takes some milliseconds for each MiB.

    Raises:
        InvalidEvent: `value` has too many bytes or values.
    """
    if len(value) <= CHEAP_BYTES:
        return
    if len(value) > MAX_BYTES:
        raise InvalidEvent("TooLarge", f"an event has at most {MAX_BYTES} bytes, not {len(value)}")
    values = sum(map(value.count, (b",", b"[", b"{")))
    if values > MAX_VALUES:
        raise InvalidEvent("TooManyValues", f"an event has at most {MAX_VALUES} commas, [ and {{ in all, not {values}")
