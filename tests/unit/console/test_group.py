"""The progress of the group follows Kafka, and is not shown when it is not known."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from worker.console.group import GroupProgress, GroupWatch
from worker.core.errors import DependencyError
from worker.core.model import PartitionProgress

Answer = Mapping[int, PartitionProgress] | DependencyError


async def watch_answers(*given: Answer) -> list[GroupProgress]:
    """The state after each answer of Kafka, ten seconds apart."""
    answers, states, now = list(given), list[GroupProgress](), 0.0

    async def fetch() -> Mapping[int, PartitionProgress]:
        answer = answers.pop(0)
        if isinstance(answer, DependencyError):
            raise answer
        return answer

    async def sleep(_: float) -> None:
        nonlocal now
        now += 10
        states.append(watch.state)
        if not answers:
            raise asyncio.CancelledError

    watch = GroupWatch(fetch, sleep, lambda: now)
    assert watch.state.problem is not None
    with suppress(asyncio.CancelledError):
        await watch.run()
    return states


async def test_progress_is_asked_again_and_gone_while_kafka_is_away() -> None:
    first, later = {0: PartitionProgress(10, 7), 1: PartitionProgress(5, None)}, {0: PartitionProgress(12, 11)}
    states = await watch_answers(first, DependencyError("away"), later)
    assert states == [
        GroupProgress(first, problem=None),
        GroupProgress(problem="away"),
        GroupProgress(later, problem=None),
    ]
    assert [state.total_lag for state in states] == [3, None, 1]


async def test_rates_are_those_between_two_answers() -> None:
    *_, last = await watch_answers(
        {0: PartitionProgress(100, 40), 1: PartitionProgress(50, None)},
        {0: PartitionProgress(130, 100), 1: PartitionProgress(70, 10), 2: PartitionProgress(900, 900)},
    )
    assert (last.sent_rate, last.read_rate) == (5.0, 6.0)  # a partition that was added counts from the next time on


async def test_topic_that_was_made_again_and_offsets_that_were_reset_have_no_negative_rate() -> None:
    *_, last = await watch_answers({0: PartitionProgress(100, 100)}, {0: PartitionProgress(5, 0)})
    assert (last.sent_rate, last.read_rate) == (0.0, 0.0)
