"""The lag of the group follows Kafka, and is not shown when it is not known."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from worker.console.lag import GroupLag, LagWatch
from worker.core.errors import DependencyError


async def test_lag_is_asked_again_and_gone_while_kafka_is_away() -> None:
    answers: list[Mapping[int, int | None] | DependencyError] = [{0: 3, 1: None}, DependencyError("away"), {0: 1}]
    states: list[GroupLag] = []

    async def fetch() -> Mapping[int, int | None]:
        answer = answers.pop(0)
        if isinstance(answer, DependencyError):
            raise answer
        return answer

    async def sleep(_: float) -> None:
        states.append(watch.state)
        if not answers:
            raise asyncio.CancelledError

    watch = LagWatch(fetch, sleep)
    assert watch.state.problem is not None
    with suppress(asyncio.CancelledError):
        await watch.run()
    assert states == [GroupLag({0: 3, 1: None}, None), GroupLag({}, "away"), GroupLag({0: 1}, None)]
    assert [state.total for state in states] == [3, None, 1]
