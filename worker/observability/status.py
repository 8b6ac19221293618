"""The status of a worker, as the status page and the probes show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from worker.core.model import SkippedItem
from worker.observability.activity import LastDeadLetter, Rates
from worker.observability.lag import PartitionLag

MAX_SILENCE_SECONDS = 60.0
"""After this long without progress of the event loop, the worker is stuck."""
GROUP = "group"
"""The reason of a worker that is not a member of its consumer group; the other reasons are causes of a hold."""


class WorkerState(Enum):
    """The state of a worker; the value is its explanation on the status page."""

    STARTING = "The worker is joining its consumer group."
    RUNNING = "The worker reads events and writes their metrics."
    HOLDING = "The worker reads no more events until the reason is gone. Nothing is lost, and a restart does not help."
    REJOINING = (
        "The consumer group is rebalancing, or its coordinator does not answer. The worker continues after that."
    )
    STUCK = "The event loop makes no progress. Kubernetes restarts the worker; unfinished work is not committed."


@dataclass(frozen=True)
class Status:
    """A snapshot of a worker. `started` and `now` are in Unix time.

    Attributes:
        reasons: why no events are processed, by cause; empty while they are.
        silence_seconds: time since the event loop last made progress.
        lags: of each owned partition whose lag is known.
        totals: the number of `events`, `rows` and `dead_letters` since the start; may be empty.
        last_dead_letters: the last dead letter of each class, and how many there were since the start.
        most_skipped: the metrics and labels that were skipped most since the start, and how often.
        clickhouse_servers: those that INSERTs use; empty before the first connection, and while none can be reached.
        notice: what an operator must know of this worker, whatever its state.
    """

    version: str
    topic: str
    group: str
    started: float
    now: float
    reasons: Mapping[str, str]
    silence_seconds: float
    has_been_group_member: bool = True
    lags: Sequence[PartitionLag] = ()
    rates: Rates = field(default_factory=Rates)
    totals: Mapping[str, float] = field(default_factory=dict)
    last_dead_letters: Sequence[LastDeadLetter] = ()
    most_skipped: Sequence[tuple[SkippedItem, int]] = ()
    clickhouse_servers: Sequence[str] = ()
    notice: str | None = None

    @property
    def state(self) -> WorkerState:
        """The state that the other values imply."""
        if self.silence_seconds >= MAX_SILENCE_SECONDS:
            return WorkerState.STUCK
        if self.reasons.keys() - {GROUP}:
            return WorkerState.HOLDING
        if not self.has_been_group_member:
            return WorkerState.STARTING
        return WorkerState.REJOINING if self.reasons else WorkerState.RUNNING
