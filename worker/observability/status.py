"""How it stands with a worker, as the status page and the probes are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from worker.observability.telemetry import LastDeadLetter, PartitionLag, Rates

MAX_SILENCE_SECONDS = 60.0
"""Longest time without progress of the loop before the process counts as stuck."""
GROUP = "group"
"""The reason of a worker that is no member of its consumer group, beside the causes of a hold."""


class WorkerState(Enum):
    """What a person would call it; the value is a sentence for him."""

    STARTING = "It joins its consumer group."
    RUNNING = "Events are taken and brought to their ends."
    HOLDING = "Nothing more is taken until the reason is gone. Nothing is lost, and a restart does not help."
    REJOINING = "The group is being divided anew, or does not answer; it takes up its partitions when that is over."
    STUCK = "The loop makes no progress. Kubernetes restarts such a worker; no offset of unfinished work is committed."


@dataclass(frozen=True)
class Status:
    """One look at a worker. Instants are in Unix time, everything in seconds.

    Attributes:
        reasons: why no work flows, by cause; empty when it does.
        silence_seconds: since the loop last made progress.
        has_been_group_member: whether it has been a member of its group.
        lags: of each partition that it owns and of which something is known.
        rates: what it has done a second lately.
        totals: how many `events`, `rows` and dead `letters` there were since the start; empty where nobody counts.
        last_dead_letters: the last dead letter of each class, and how many there were since the start.
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

    @property
    def state(self) -> WorkerState:
        """What a person would call it."""
        if self.silence_seconds >= MAX_SILENCE_SECONDS:
            return WorkerState.STUCK
        if self.reasons.keys() - {GROUP}:
            return WorkerState.HOLDING
        if not self.has_been_group_member:
            return WorkerState.STARTING
        return WorkerState.REJOINING if self.reasons else WorkerState.RUNNING
