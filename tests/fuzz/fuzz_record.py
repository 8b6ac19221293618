"""A record as the fuzzer makes it."""

from __future__ import annotations

from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]

BASE_TIME = 1_788_220_800_000
"""2026-09-01T00:00:00Z in milliseconds; a fixed one, so that a seed always gives the same records."""


class FuzzRecord(NamedTuple):
    """What is to be put on the topic.

    Attributes:
        name: how it was made, for people.
        timestamp: of the record, in milliseconds since 1970.
        codec: how the batch that carries it is compressed.
        batch: number of the first record of the batch that it must share with its neighbours; None for any.
        unreadable: whether the Kafka client cannot parse it, or one before it in its batch.
    """

    name: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int = BASE_TIME
    codec: str | None = None
    batch: int | None = None
    unreadable: bool = False
