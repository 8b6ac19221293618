"""How far the workers of the group are behind, and how fast they are, which the console asks Kafka itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from worker.core.errors import DependencyError
from worker.core.model import PartitionProgress
from worker.core.retry import Sleep

_PAUSE_SECONDS = 15.0


class GroupProgress(NamedTuple):
    """The progress of a consumer group.

    Attributes:
        partitions: the offsets of each partition.
        read_rate, sent_rate: records a second that the group has committed, and that producers have sent, between the
            last two requests; None before the second one.
        problem: why the last request has failed; None if it has not.
    """

    partitions: Mapping[int, PartitionProgress] = {}
    read_rate: float | None = None
    sent_rate: float | None = None
    problem: str | None = "the lag has not been read yet"

    @property
    def total_lag(self) -> int | None:
        """Records of all partitions that are not committed; None if it is not known."""
        known = [each.lag for each in self.partitions.values() if each.lag is not None]
        return sum(known) if known else None

    @property
    def by_lag(self) -> Sequence[tuple[int, PartitionProgress]]:
        """The partitions, those with the most lag first; where nothing is committed all records count."""
        return sorted(self.partitions.items(), key=lambda each: (-_count_uncommitted(each[1]), each[0]))


def _count_uncommitted(progress: PartitionProgress) -> int:
    return progress.end if progress.lag is None else progress.lag


class GroupWatch:
    """Asks again and again: `state` is then replaced.

    Args:
        fetch: what `GroupProgress.partitions` has; raises DependencyError when Kafka cannot be reached, or refuses.
        clock: seconds.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[int, PartitionProgress]]],
        sleep: Sleep = asyncio.sleep,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._fetch = fetch
        self._sleep = sleep
        self._clock = clock
        self._before: tuple[float, Mapping[int, PartitionProgress]] | None = None
        self.state = GroupProgress()

    async def run(self) -> None:
        """Ask until it is cancelled. After a failure the last numbers are gone: they say nothing about now."""
        while True:
            try:
                self.state = self._compare(await self._fetch())
            except DependencyError as error:
                self._before, self.state = None, GroupProgress(problem=str(error))
            await self._sleep(_PAUSE_SECONDS)

    def _compare(self, partitions: Mapping[int, PartitionProgress]) -> GroupProgress:
        now, before = self._clock(), self._before
        self._before = (now, partitions)
        if before is None or before[0] >= now:
            return GroupProgress(partitions, problem=None)
        seconds = now - before[0]
        read = sent = 0
        for number, progress in partitions.items():
            earlier = before[1].get(number)
            if earlier is None:
                continue
            # A topic that was made again, or offsets that were reset, count as nothing: neither is work of a worker.
            sent += max(progress.end - earlier.end, 0)
            if progress.committed is not None and earlier.committed is not None:
                read += max(progress.committed - earlier.committed, 0)
        return GroupProgress(partitions, read / seconds, sent / seconds, None)
