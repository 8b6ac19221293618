"""How many records are read from Kafka into one batch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPolicy:
    """The limits of one batch; whichever is reached first closes it.

    One commit covers one batch. A record larger than `max_bytes` is a batch of its own.

    Attributes:
        max_events: number of records, at least 1.
        max_bytes: bytes of their keys, values and headers, at least 1.
        linger_seconds: how long a batch that is not full waits for more records.
    """

    max_events: int = 5_000
    max_bytes: int = 8 * 1024 * 1024
    linger_seconds: float = 0.2
