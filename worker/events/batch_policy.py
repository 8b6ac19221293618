"""How much is taken from Kafka at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPolicy:
    """The limits of one batch; whichever is reached first closes it.

    A batch is what one commit covers, and the most that is in memory at a time. A record that is larger than
    `max_bytes` is a batch of its own: nothing is too large to be looked at.

    Attributes:
        max_events: records at most, from 1.
        max_bytes: sum of the records' keys, values and headers, in bytes, from 1.
        linger_seconds: how long a batch that is not full waits for more, from 0.

    Raises:
        ValueError: a limit is out of its bounds.
    """

    max_events: int = 5_000
    max_bytes: int = 8 * 1024 * 1024
    linger_seconds: float = 0.2

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_events", self.max_events, 1),
            ("max_bytes", self.max_bytes, 1),
            ("linger_seconds", self.linger_seconds, 0),
        ):
            if not least <= value < float("inf"):
                raise ValueError(f"{name} must be at least {least}, not {value}")
