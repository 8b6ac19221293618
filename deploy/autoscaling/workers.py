"""A model of workers that share the partitions of a topic as static members of a consumer group.

What it knows: a member that leaves keeps its partitions until its session expires, and these wait; one that restarts in
time gets them back without a rebalance; every other change stops all members for a moment; partitions are shared as
evenly as whole ones can be.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

START_SECONDS = 30
"""From the decision to the first record: schedule a pod whose image is there, start the process, join the group."""
RESTART_SECONDS = 20
"""Of a pod that a rollout replaces: drain, stop, start."""
REBALANCE_SECONDS = 5
"""All members stop: they end their batches, join and get their partitions."""
SCRAPE_SECONDS = 15


class Speed(NamedTuple):
    """Of one worker.

    Attributes:
        core_seconds: of CPU that an event costs.
        core_share: of a core that a worker uses at most.
    """

    core_seconds: float
    core_share: float

    @property
    def events_per_second(self) -> float:
        """The most that a worker processes."""
        return self.core_share / self.core_seconds


class Workers:
    """Advanced in steps; `replicas` is what the StatefulSet has now.

    Attributes:
        backlog: events that wait, by partition.
        rebalances: how many there were.
        holds: whether all workers hold, because ClickHouse is away.
    """

    def __init__(self, speed: Speed, replicas: int, partitions: int, session_seconds: int, rate_seconds: int) -> None:
        self._speed = speed
        self._session_seconds = session_seconds
        self._cpu: deque[float] = deque([0.0], maxlen=rate_seconds // SCRAPE_SECONDS)
        self._rate_seconds = rate_seconds
        self._members = list(range(replicas))
        self._starts_at: dict[int, float] = {}
        self._expires_at: dict[int, float] = {}
        self._stopped_until = 0.0
        self.replicas = replicas
        self.backlog = [0.0] * partitions
        self.rebalances = 0
        self.holds = False

    @property
    def mean_cores(self) -> float:
        """What `sum(rate(process_cpu_seconds_total[…]))` answers."""
        return sum(self._cpu) / self._rate_seconds

    def scale(self, replicas: int, now: float) -> None:
        """Start or remove pods, those with the highest ordinals first, as a StatefulSet does."""
        for ordinal in range(self.replicas, replicas):
            self._starts_at[ordinal] = now + START_SECONDS
        for ordinal in range(replicas, self.replicas):
            self._starts_at.pop(ordinal, None)
            if ordinal in self._members:
                self._expires_at[ordinal] = now + self._session_seconds
        self.replicas = replicas

    def restart(self, ordinal: int, now: float) -> None:
        """Replace a pod: it comes back as the same member."""
        self._starts_at[ordinal] = now + RESTART_SECONDS

    def advance(self, now: float, seconds: float, events_per_second: float) -> None:
        """Let producers send, and workers process, for some seconds."""
        self._update_members(now)
        each = events_per_second * seconds / len(self.backlog)
        self.backlog = [waiting + each for waiting in self.backlog]
        if now % SCRAPE_SECONDS < seconds:
            self._cpu.append(0.0)
        if self.holds or now < self._stopped_until:
            return
        for position, ordinal in enumerate(self._members):
            if ordinal not in self._starts_at and ordinal not in self._expires_at:
                self._cpu[-1] += self._speed.core_seconds * self._process(position, seconds)

    def _update_members(self, now: float) -> None:
        if not self._starts_at and not self._expires_at:
            return
        left = {ordinal for ordinal, at in self._expires_at.items() if at <= now}
        started = {ordinal for ordinal, at in self._starts_at.items() if at <= now}
        for ordinal in started:
            del self._starts_at[ordinal]
            self._expires_at.pop(ordinal, None)
        left -= started
        for ordinal in left:
            del self._expires_at[ordinal]
        members = sorted((set(self._members) - left) | started)
        if members != self._members:
            self._members = members
            self.rebalances += 1
            self._stopped_until = now + REBALANCE_SECONDS

    def _process(self, position: int, seconds: float) -> float:
        """Process the partitions of the member at `position`; return how many events."""
        owned = slice(position, None, len(self._members))
        waiting = self.backlog[owned]
        total = sum(waiting)
        done = min(total, self._speed.events_per_second * seconds)
        left = 1 - done / total if total else 0.0
        self.backlog[owned] = [events * left for events in waiting]
        return done
