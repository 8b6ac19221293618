"""Pace, limits, stops and results of a replay; `test_replay_machine` tests that nothing is lost."""

import asyncio

from tests.support.fakes import UNAVAILABLE as STORE_UNAVAILABLE
from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import REFUSED, count_open, failed_metric, replay, topic_of
from worker.commands.replay_report import exit_code, report_result
from worker.core.outcome import Outcome
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.progress import ReplayProgress
from worker.events.block import Block
from worker.replay.plan import ReplayPolicy


class StuckStore(MemoryStore):
    """A store whose inserts are never answered."""

    async def insert(self, block: Block) -> Outcome:
        self.watch()
        await asyncio.Event().wait()
        return await super().insert(block)


async def topic_with(count: int) -> MemoryTopic:
    return await topic_of(*(failed_metric(f"m{number}") for number in range(count)))


async def test_metrics_are_written_in_blocks() -> None:
    store = MemoryStore()
    await replay(await topic_with(1_000), store, ReplayPolicy(max_metrics=400))
    assert store.inserts == [400, 400, 200]


async def test_rate_is_kept_on_average() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    await replay(await topic_with(100), MemoryStore(), ReplayPolicy(metrics_per_second=10), sleep=sleep)
    assert len(slept) == 9, "before each block but the first"
    assert max(slept) > 8.0, "no time passes in this test, so that each wait is added to the previous ones"


async def test_attempts_are_added_up_over_replays() -> None:
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    for _ in range(2):
        await replay(topic, store)
    attempts = [dict(kept.headers)["dlq.attempts"] for kept in topic.records[0]]
    assert attempts == [b"3", b"3", b"5", b"6"], "two inserts contained it in the first replay, one in the second"


async def test_unreplayable_dead_letters_do_not_count_towards_the_limit() -> None:
    topic = await topic_of(
        *(failed_metric("m", REFUSED) for _ in range(3)), failed_metric("good"), failed_metric("another")
    )
    topic.records[0][:3] = [kept._replace(value=b"damaged") for kept in topic.records[0][:3]]  # type: ignore[attr-defined]
    found, result = await replay(topic, MemoryStore(), ReplayPolicy(limit=1))
    report = report_result(found, result)
    counts = {name: (of["chosen"], of["written"], sum(of["left"].values())) for name, of in report["classes"].items()}
    assert counts == {"row_refused": (3, 0, 3), "store_unavailable": (1, 1, 0)}
    assert (report["beyond_limit"], report["remaining"], exit_code(found, result)) == (1, 4, 1)


# Stop


async def test_stop_does_not_wait_for_the_rate() -> None:
    stop = asyncio.Event()

    async def sleep(_: float) -> None:
        stop.set()
        await asyncio.Event().wait()

    policy = ReplayPolicy(metrics_per_second=1)
    async with asyncio.timeout(20):
        _, result = await replay(await topic_with(2), MemoryStore(), policy, stop=stop, sleep=sleep, stop_seconds=600.0)
    assert (result.written.total(), result.interrupted) == (1, True)


async def test_stop_waits_once_for_the_block_in_flight() -> None:
    stop, store, waits = asyncio.Event(), StuckStore(), list[float]()
    store.watch = stop.set
    policy, topic = ReplayPolicy(max_metrics=1), await topic_with(3)
    _, result = await replay(topic, store, policy, stop=stop, stop_seconds=0.1, on_finishing=waits.append)
    assert (result.written.total(), result.interrupted) == (0, True)
    assert waits == [0.1]


async def test_block_in_flight_is_done_after_a_stop() -> None:
    stop, store = asyncio.Event(), MemoryStore()
    store.watch = stop.set
    topic = await topic_with(2)
    _, result = await replay(topic, store, ReplayPolicy(max_metrics=1), stop=stop)
    assert result.written.total() == 1
    assert (await topic.load_progress())[0].first_open == 1


async def test_stop_interrupts_a_replay_that_chooses_nothing() -> None:
    stop, topic = asyncio.Event(), await topic_with(3_000)
    # Called when progress is saved, before the first block.
    topic.watch = lambda: asyncio.get_running_loop().call_soon(stop.set)
    policy = ReplayPolicy(DeadLetterFilter(metrics=frozenset({"none of them"})))
    _, result = await replay(topic, MemoryStore(), policy, stop=stop)
    assert result.interrupted
    assert topic.handed_out < 3_000 + 3_000, "the scan reads all, the replay does not read to the end"


# Results


async def test_exit_code_is_0_if_nothing_remains() -> None:
    found, result = await replay(await topic_with(1), MemoryStore())
    assert exit_code(found, result) == 0
    classes = report_result(found, result)["classes"]
    assert classes == {"store_unavailable": {"chosen": 1, "written": 1, "failed_again": 0, "left": {}}}


async def test_exit_code_is_1_if_something_failed_again() -> None:
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    assert exit_code(*await replay(topic, store)) == 1
    found, result = await replay(topic, store, ReplayPolicy(max_replays=1))
    assert (exit_code(found, result), found.exhausted.total(), found.chosen.total()) == (1, 1, 0)


async def test_exit_code_is_1_if_something_is_beyond_the_limit() -> None:
    found, result = await replay(await topic_with(2), MemoryStore(), ReplayPolicy(limit=1))
    assert (exit_code(found, result), result.written.total(), found.beyond_limit.total()) == (1, 1, 1)


async def test_exit_code_is_3_if_the_store_is_unavailable() -> None:
    store, topic = MemoryStore(), await topic_with(1)
    store.down = STORE_UNAVAILABLE
    assert exit_code(*await replay(topic, store)) == 3
    assert len(topic.records[0]) == 1, "an outage makes no new dead letters"


async def test_problem_names_an_unclassified_error() -> None:
    found, result = await replay(await topic_with(1), MemoryStore(fails=lambda _: True))
    assert exit_code(found, result) == 3
    assert "CODE_4711" in (result.problem or "")


async def test_problem_names_an_unavailable_dead_letter_topic() -> None:
    topic = await topic_with(1)
    topic.fail_writes(*[None] * 1_000)
    found, result = await replay(topic, MemoryStore(refuses=lambda _: True))
    assert exit_code(found, result) == 3
    assert (result.problem or "").startswith("the dead-letter topic: ")


async def test_replay_counts_only_its_own_work_beside_another_replay() -> None:
    topic, saved = await topic_with(6), asyncio.Event()

    async def another_replay_saves(_: float) -> None:
        if not saved.is_set():
            saved.set()
            await topic.save_progress({0: ReplayProgress(6)}, {})

    policy = ReplayPolicy(metrics_per_second=1)
    found, result = await replay(topic, MemoryStore(), policy, sleep=another_replay_saves)
    assert saved.is_set()
    assert report_result(found, result)["remaining"] == 0
    assert await count_open(topic) == 0
