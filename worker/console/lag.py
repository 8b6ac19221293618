"""How far the workers of the group are behind, which the console asks Kafka itself."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from worker.core.errors import DependencyError
from worker.core.retry import Sleep

_PAUSE_SECONDS = 15.0


class GroupLag(NamedTuple):
    """The lag of a consumer group.

    Attributes:
        records: by partition, how many records are not committed; None where nothing is committed.
        problem: why the last request has failed; None if it has not.
    """

    records: Mapping[int, int | None] = {}
    problem: str | None = "the lag has not been read yet"

    @property
    def total(self) -> int | None:
        """Records of all partitions; None if it is not known."""
        known = [count for count in self.records.values() if count is not None]
        return sum(known) if known else None


class LagWatch:
    """Asks again and again: `state` is then replaced.

    Args:
        fetch: what `GroupLag.records` has; raises DependencyError when Kafka cannot be reached, or refuses.
    """

    def __init__(self, fetch: Callable[[], Awaitable[Mapping[int, int | None]]], sleep: Sleep = asyncio.sleep) -> None:
        self._fetch = fetch
        self._sleep = sleep
        self.state = GroupLag()

    async def run(self) -> None:
        """Ask until it is cancelled. After a failure the last numbers are gone: they say nothing about now."""
        while True:
            try:
                self.state = GroupLag(await self._fetch(), None)
            except DependencyError as error:
                self.state = GroupLag({}, str(error))
            await self._sleep(_PAUSE_SECONDS)
