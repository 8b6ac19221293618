"""When the console says that Kafka does not answer."""

import asyncio
from contextlib import suppress

from worker.console.kafka_watch import KafkaWatch
from worker.core.errors import DependencyError


async def test_kafka_is_silent_a_few_seconds_after_its_last_answer_whether_it_hangs_or_refuses() -> None:
    now = 1_000.0
    silent: list[float | None] = []

    async def ping() -> None:
        silent.append(watch.silent_since)
        if len(silent) == 2:
            raise DependencyError("refused")
        if len(silent) == 4:
            raise asyncio.CancelledError

    async def sleep(_: float) -> None:
        nonlocal now
        now += 7

    watch = KafkaWatch(ping, sleep, lambda: now)
    with suppress(asyncio.CancelledError):
        await watch.run()
    assert silent == [None, None, 1_000.0, None]  # not before the first answer; then 7 s, 14 s, and after an answer 7 s
    now += 6
    assert watch.silent_since == 1_014.0


async def test_kafka_that_never_answered_is_not_silent() -> None:
    """What the pages then say is why the topic cannot be read."""

    async def ping() -> None:
        raise DependencyError("refused")

    async def end(_: float) -> None:
        raise asyncio.CancelledError

    watch = KafkaWatch(ping, end)
    with suppress(asyncio.CancelledError):
        await watch.run()
    assert watch.silent_since is None
