"""Pace, limits, stops and results of a replay; `test_replay_machine` tests that nothing is lost."""

import asyncio

from tests.support.fakes import UNAVAILABLE as STORE_UNAVAILABLE
from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import REFUSED, count_open, failed_event, failed_metric, replay, topic_of
from worker.core.errors import DependencyError
from worker.core.outcome import Outcome
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import Settlement, is_settlement, parse_settlement
from worker.events.block import Block
from worker.replay.plan import ReplayPolicy
from worker.replay.report import exit_code, report_result
from worker.replay.result import ReplayResult


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
    attempts = [dict(kept.headers)["dlq.attempts"] for kept in topic.letters_of(0)]
    assert attempts == [b"3", b"3", b"5", b"6"], "two inserts contained it in the first replay, one in the second"


async def test_unreplayable_dead_letters_do_not_count_towards_the_limit() -> None:
    topic = await topic_of(
        *(failed_metric("m", REFUSED) for _ in range(3)), failed_metric("good"), failed_metric("another")
    )
    topic.records[0][:3] = [kept._replace(value=b"damaged") for kept in topic.records[0][:3]]  # type: ignore[attr-defined]
    result = await replay(topic, MemoryStore(), ReplayPolicy(limit=1))
    report = report_result(result)
    counts = {name: (of["chosen"], of["written"], sum(of["left"].values())) for name, of in report["classes"].items()}
    assert counts == {"row_refused": (3, 0, 3), "store_unavailable": (1, 1, 0)}
    assert (report["beyond_limit"], report["remaining"], exit_code(result)) == (1, None, 1)


# Stop


async def test_stop_does_not_wait_for_the_rate() -> None:
    stop = asyncio.Event()

    async def sleep(_: float) -> None:
        stop.set()
        await asyncio.Event().wait()

    policy = ReplayPolicy(metrics_per_second=1)
    async with asyncio.timeout(20):
        result = await replay(await topic_with(2), MemoryStore(), policy, stop=stop, sleep=sleep, stop_seconds=600.0)
    assert (result.written.total(), result.interrupted) == (1, True)


async def test_stop_waits_once_for_the_block_in_flight() -> None:
    stop, store, waits = asyncio.Event(), StuckStore(), list[float]()
    store.watch = stop.set
    policy, topic = ReplayPolicy(max_metrics=1), await topic_with(3)
    result = await replay(topic, store, policy, stop=stop, stop_seconds=0.1, on_finishing=waits.append)
    assert (result.written.total(), result.interrupted) == (0, True)
    assert waits == [0.1]


async def test_block_in_flight_is_done_after_a_stop() -> None:
    stop, store = asyncio.Event(), MemoryStore()
    store.watch = stop.set
    topic = await topic_with(2)
    result = await replay(topic, store, ReplayPolicy(max_metrics=1), stop=stop)
    assert (result.written.total(), result.remaining) == (1, None)
    assert await count_open(topic) == 1


async def test_stop_interrupts_a_replay_that_chooses_nothing() -> None:
    stop, topic = asyncio.Event(), await topic_with(3_000)
    # Called when the journal begins, before the first block.
    topic.watch = lambda: asyncio.get_running_loop().call_soon(stop.set)
    policy = ReplayPolicy(DeadLetterFilter(metrics=frozenset({"none of them"})))
    result = await replay(topic, MemoryStore(), policy, stop=stop)
    assert result.interrupted
    assert topic.handed_out < 3_000 + 3_000, "the settlements are read to the end, the dead letters are not"


# Results


async def test_exit_code_is_0_if_nothing_remains() -> None:
    result = await replay(await topic_with(1), MemoryStore())
    assert exit_code(result) == 0
    classes = report_result(result)["classes"]
    assert classes == {"store_unavailable": {"chosen": 1, "written": 1, "failed_again": 0, "left": {}}}


async def test_exit_code_is_1_if_something_failed_again() -> None:
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    assert exit_code(await replay(topic, store)) == 1
    result = await replay(topic, store, ReplayPolicy(max_replays=1))
    assert (exit_code(result), result.selection.exhausted.total(), result.selection.chosen.total()) == (1, 1, 0)


async def test_exit_code_is_1_if_something_is_beyond_the_limit() -> None:
    result = await replay(await topic_with(3), MemoryStore(), ReplayPolicy(limit=1))
    assert (exit_code(result), result.written.total(), result.remaining) == (1, 1, None)
    assert result.selection.beyond_limit.total() == 1, "the topic is not read further"


async def test_exit_code_is_3_if_the_store_is_unavailable() -> None:
    store, topic = MemoryStore(), await topic_with(1)
    store.down = STORE_UNAVAILABLE
    assert exit_code(await replay(topic, store)) == 3
    assert len(topic.letters_of(0)) == 1, "an outage makes no new dead letters"


async def test_problem_names_an_unclassified_error() -> None:
    result = await replay(await topic_with(1), MemoryStore(fails=lambda _: True))
    assert exit_code(result) == 3
    assert "CODE_4711" in (result.problem or "")


async def test_problem_names_an_unavailable_dead_letter_topic() -> None:
    topic = await topic_with(1)
    topic.fail_writes(*[None] * 1_000)
    result = await replay(topic, MemoryStore(refuses=lambda _: True))
    assert exit_code(result) == 3
    assert (result.problem or "").startswith("the dead-letter topic: ")


async def test_replay_counts_only_its_own_work_beside_another_replay() -> None:
    topic, others = await topic_with(6), list[ReplayResult]()

    async def another_replay_runs(_: float) -> None:
        if not others:
            others.append(await replay(topic, MemoryStore()))

    result = await replay(topic, MemoryStore(), ReplayPolicy(metrics_per_second=1), sleep=another_replay_runs)
    assert [each.remaining for each in (result, *others)] == [0, 0]
    assert await count_open(topic) == 0


async def test_dead_letters_that_retention_deletes_during_a_replay_are_not_left_to_do() -> None:
    topic = await topic_with(20)

    async def retention(_: float) -> None:
        topic.starts[0] = 15

    result = await replay(topic, MemoryStore(), ReplayPolicy(metrics_per_second=1), sleep=retention)
    assert result.written.total() < 20
    assert (result.remaining, exit_code(result)) == (0, 0)


async def test_event_without_value_is_not_written() -> None:
    topic = await topic_of(failed_event("m"))
    topic.records[0][0] = topic.records[0][0]._replace(value=None)  # type: ignore[attr-defined]
    result = await replay(topic, MemoryStore())
    assert (result.written.total(), result.remaining, await count_open(topic)) == (0, 1, 1)
    assert [reason for _, reason in result.unreplayable] == ["it has no value"]


# Journal


async def test_journal_says_that_a_replay_begins_what_it_has_done_and_how_it_ended() -> None:
    topic = await topic_with(5)
    await replay(topic, MemoryStore(refuses=lambda row: row.metric == "m3"), ReplayPolicy(max_metrics=2))
    journal = [parse_settlement(kept) for kept in topic.records[0] if is_settlement(kept)]
    assert [[(run.first, run.last) for run in entry.runs] for entry in journal] == [
        [],
        [(0, 1)],
        [(2, 3)],
        [(4, 4)],
        [],
    ]
    assert {(entry.action, entry.operation, entry.by) for entry in journal} == {("replayed", "1", "operator@host")}
    assert [entry.outcome for entry in journal[:-1]] == [None] * 4
    assert journal[-1].outcome == {"written": 4, "failed_again": 1, "not_replayable": 0}


async def test_nothing_is_written_if_the_journal_does_not_acknowledge_the_beginning() -> None:
    class ReadOnlyTopic(MemoryTopic):
        async def append(self, partition: int, settlement: Settlement) -> None:
            raise DependencyError(f"partition {partition} acknowledges no {settlement.action}")

    topic, store = ReadOnlyTopic(), MemoryStore()
    await topic.write([failed_metric("m")])
    result = await replay(topic, store)
    assert (store.inserts, result.problem, exit_code(result)) == ([], "partition 0 acknowledges no replayed", 3)


async def test_first_dead_letters_that_were_not_written_are_kept_with_place_and_reason() -> None:
    topic = await topic_of(failed_metric("m"), *[failed_metric("n" * 300)] * 150)
    topic.keep(EncodedDeadLetter(None, b"damaged", topic.records[0][0].headers, 0))
    result = await replay(topic, MemoryStore(), ReplayPolicy(max_metrics=10))
    assert (result.failed_again.total(), result.unreplayable.total()) == (150, 1)
    assert len(result.failures) == 100
    assert result.failures[0].position.offset == 1
    assert result.failures[0].reason.startswith("InvalidName: ")
    assert result.failures[0].failed_again
