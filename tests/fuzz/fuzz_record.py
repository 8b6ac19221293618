"""A record as the fuzzer makes it."""

from typing import NamedTuple

Headers = tuple[tuple[str, bytes | None], ...]

BASE_TIME = 1_788_220_800_000
"""2026-09-01T00:00:00Z in milliseconds; a fixed one, so that a seed always gives the same records."""


class FuzzRecord(NamedTuple):
    """What is sent.

    Attributes:
        name: how it was made.
        timestamp: of the record, in milliseconds since 1970.
        codec: how the batch that carries it is compressed.
        librdkafka: whether librdkafka sends it, and not aiokafka.
        batch: number of the first record of the batch that the record must be in; None for any batch.
        unreadable: whether the Kafka client cannot parse it, or a record before it in its batch.
    """

    name: str
    value: bytes | None
    key: bytes | None = None
    headers: Headers = ()
    timestamp: int = BASE_TIME
    codec: str | None = None
    librdkafka: bool = False
    batch: int | None = None
    unreadable: bool = False

    @property
    def kind(self) -> str:
        """How it was made, without the single mutations, for the report."""
        made_by, _, _ = self.name.partition(": ")
        return self.name if made_by in ("amplified", "careless", "oversized") else made_by
