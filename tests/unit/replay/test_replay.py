"""What the machine of `test_replay_machine` does not look at: the pace, the numbers, the exit codes."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from click.testing import CliRunner

from tests.support.events import event, read, record
from tests.support.fakes import UNAVAILABLE, MemorySources, MemoryStore, MemoryTopic
from tests.support.worker_harness import WorkerHarness, rig
from worker.commands.replay import replay as command
from worker.commands.replay_report import exit_code, plan_summary, report_plan, report_result
from worker.core.errors import ErrorClass
from worker.core.hold import Cause
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.core.outcome import Outcome as InsertOutcome
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.events.block import Block
from worker.pipeline import Pipeline
from worker.replay.part_deduplicator import PartDeduplicator
from worker.replay.plan import ReplayPlan, ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.writing.writer import OnUnavailable

AWAY = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
UNREAD = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "an old worker did not know it")
TABLE = "default.execution_metrics"


def metric(name: str, value: float = 1) -> FailedMetric:
    return FailedMetric(read(event()), name, value, AWAY, 3)


async def replay(
    topic: MemoryTopic, store: MemoryStore, policy: ReplayPolicy, slept: list[float] | None = None
) -> tuple[ReplayPlan, ReplayResult]:
    standing = await DeadLetterScan.begin(topic)
    plan = await standing.scan(lambda: ReplayPlan(policy, TABLE))
    hold = WatchedHold()

    async def sleep(seconds: float) -> None:
        if slept is not None:
            slept.append(seconds)
        await asyncio.sleep(0)

    async with rig(store, OnUnavailable.HOLD, hold=hold) as parts:
        letters = PartDeduplicator(topic, standing.supersessions)
        pipeline = Pipeline(parts.writer, letters, hold, parts.telemetry, sleep=parts.clock.sleep)
        running = Replayer(standing, MemorySources(), pipeline, hold, policy, sleep=sleep)
        return plan, await running.run(asyncio.Event())


async def topic_of(*failed: Failed) -> MemoryTopic:
    topic = MemoryTopic()
    await topic.write(failed)
    return topic


async def test_metrics_go_in_blocks() -> None:
    store = MemoryStore()
    topic = await topic_of(*(metric(f"m{number}") for number in range(1_000)))
    await replay(topic, store, ReplayPolicy(max_metrics=400))
    assert store.inserts == [400, 400, 200]


async def test_the_rate_is_kept_on_average() -> None:
    slept: list[float] = []
    topic = await topic_of(*(metric(f"m{number}") for number in range(100)))
    await replay(topic, MemoryStore(), ReplayPolicy(metrics_per_second=10), slept)
    assert len(slept) == 9, "before each block but the first"
    assert max(slept) > 8.0, "nothing passes in this test but what was slept, so each wait comes on top"


@pytest.mark.parametrize("number", [0, -1, float("nan"), float("inf")])
def test_a_rate_is_a_positive_number(number: float) -> None:
    with pytest.raises(ValueError, match="metrics_per_second"):
        ReplayPolicy(metrics_per_second=number)
    refused = CliRunner().invoke(command, ["--yes", "--rate", str(number)])
    assert refused.exit_code == 2
    assert "Invalid value for '--rate'" in refused.output


async def test_attempts_add_up_over_replays() -> None:
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    topic = await topic_of(metric("bad"), metric("good"))
    for _ in range(2):
        await replay(topic, store, ReplayPolicy())
    attempts = [dict(kept.headers)["dlq.attempts"] for kept in topic.records[0]]
    assert attempts == [b"3", b"3", b"5", b"6"], "two inserts held it the first time, one the second"


class TestAStop:
    """`stop` is set in the middle."""

    async def running(self, topic: MemoryTopic, store: MemoryStore, policy: ReplayPolicy, **options: Any) -> Replayer:
        standing, hold = await DeadLetterScan.begin(topic), WatchedHold()
        pipeline = WorkerHarness(store, OnUnavailable.HOLD, hold=hold).pipeline
        return Replayer(standing, MemorySources(), pipeline, hold, policy, **options)

    async def test_does_not_wait_for_the_rate(self) -> None:
        stop = asyncio.Event()

        async def sleep(_: float) -> None:
            stop.set()
            await asyncio.Event().wait()

        topic = await topic_of(metric("a"), metric("b"))
        policy = ReplayPolicy(metrics_per_second=1)
        running = await self.running(topic, MemoryStore(), policy, sleep=sleep, stop_seconds=600.0)
        async with asyncio.timeout(20):
            outcome = await running.run(stop)
        assert (outcome.written.total(), outcome.interrupted) == (1, True)

    async def test_waits_once_for_the_block_that_is_under_way(self) -> None:
        stop, store = asyncio.Event(), StuckStore()
        store.watch = stop.set
        waited: list[float] = []
        topic = await topic_of(metric("a"), metric("b"), metric("c"))
        policy = ReplayPolicy(max_metrics=1)
        running = await self.running(topic, store, policy, stop_seconds=0.1, on_finishing=waited.append)
        outcome = await running.run(stop)
        assert (outcome.written.total(), outcome.interrupted) == (0, True)
        assert waited == [0.1]

    async def test_takes_down_the_block_that_was_under_way(self) -> None:
        stop, store, waited = asyncio.Event(), MemoryStore(), list[float]()
        store.watch = stop.set
        topic = await topic_of(metric("a"), metric("b"))
        running = await self.running(topic, store, ReplayPolicy(max_metrics=1), on_finishing=waited.append)
        assert (await running.run(stop)).written.total() == 1
        assert (await topic.load_progress())[0].first_open == 1

    async def test_is_heard_where_nothing_is_chosen(self) -> None:
        stop, topic = asyncio.Event(), await topic_of(*(metric(f"m{number}") for number in range(3_000)))
        policy = ReplayPolicy(DeadLetterFilter(metrics=frozenset({"none of them"})))
        running = await self.running(topic, MemoryStore(), policy)
        before = asyncio.create_task(running.run(stop))
        await asyncio.sleep(0)
        stop.set()
        assert (await before).interrupted
        assert topic.handed_out < 3_000, "it has gone on to the end"


class StuckStore(MemoryStore):
    """A store whose inserts are never answered."""

    async def insert(self, block: Block) -> InsertOutcome:
        self.watch()
        await asyncio.Event().wait()
        return await super().insert(block)


class TestExitCodes:
    async def test_nothing_left(self) -> None:
        plan, outcome = await replay(await topic_of(metric("m")), MemoryStore(), ReplayPolicy())
        assert exit_code(plan, outcome) == 0
        report = report_result(plan, outcome)
        assert report["classes"]["store_unavailable"] == {"chosen": 1, "written": 1, "failed_again": 0, "left": {}}

    async def test_something_left(self) -> None:
        store = MemoryStore(refuses=lambda row: row.metric == "bad")
        topic = await topic_of(metric("bad"), metric("good"))
        plan, outcome = await replay(topic, store, ReplayPolicy())
        assert exit_code(plan, outcome) == 1
        plan, outcome = await replay(topic, store, ReplayPolicy(max_replays=1))
        assert (exit_code(plan, outcome), plan.exhausted.total(), plan.chosen.total()) == (1, 1, 0)

    async def test_beyond_the_limit(self) -> None:
        plan, outcome = await replay(await topic_of(metric("a"), metric("b")), MemoryStore(), ReplayPolicy(limit=1))
        assert (exit_code(plan, outcome), outcome.written.total(), plan.beyond_limit.total()) == (1, 1, 1)

    async def test_what_cannot_be_put_back_does_not_stand_before_the_limit(self) -> None:
        topic = await topic_of(FailedMetric(read(event()), "m", 1, REFUSED, 1), metric("good"), metric("another"))
        damaged = topic.records[0].pop(0)
        for _ in range(3):
            topic.records[0].insert(0, damaged._replace(value=b"damaged"))  # type: ignore[attr-defined]
        topic.records[0] = [kept._replace(offset=at) for at, kept in enumerate(topic.records[0])]  # type: ignore[attr-defined]
        plan, outcome = await replay(topic, MemoryStore(), ReplayPolicy(limit=1))
        assert outcome.written.total() == 1
        report = report_result(plan, outcome)
        assert {
            name: (of["chosen"], of["written"], sum(of["left"].values())) for name, of in report["classes"].items()
        } == {
            "row_refused": (3, 0, 3),
            "store_unavailable": (1, 1, 0),
        }
        assert (report["beyond_limit"], report["remaining"], exit_code(plan, outcome)) == (1, 4, 1)

    async def test_store_is_unavailable(self) -> None:
        store = MemoryStore()
        store.down = UNAVAILABLE
        topic = await topic_of(metric("a"))
        plan, outcome = await replay(topic, store, ReplayPolicy())
        assert exit_code(plan, outcome) == 3
        assert len(topic.records[0]) == 1

    async def test_reason_is_reported_for_a_letter_that_fails_unclassified(self) -> None:
        store = MemoryStore(fails=lambda _: True)
        plan, outcome = await replay(await topic_of(metric("poison")), store, ReplayPolicy())
        assert exit_code(plan, outcome) == 3
        assert "CODE_4711" in (outcome.problem or "")

    async def test_reason_of_a_hold_is_kept_after_it_has_ended(self) -> None:
        hold = WatchedHold()
        hold.enter(Cause.STORE, "connection refused")
        hold.leave(Cause.STORE)
        assert hold.entered.is_set()
        assert hold.description == "ClickHouse: connection refused"

    async def test_the_topic_is_away(self) -> None:
        store = MemoryStore(refuses=lambda _: True)
        topic = await topic_of(metric("a"))
        topic.fail_writes(*[None] * 1_000)
        plan, outcome = await replay(topic, store, ReplayPolicy())
        assert exit_code(plan, outcome) == 3
        assert (outcome.problem or "").startswith("the dead-letter topic: ")


class TestTheDryRun:
    async def test_says_what_the_worker_of_today_would_refuse(self) -> None:
        old = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "words")
        topic = await topic_of(
            FailedEvent(record(event()), old),
            FailedEvent(record(b"{", offset=1), old),
            metric("sound"),
            metric("n" * 300),
        )
        damaged = topic.records[0][2]
        topic.keep(EncodedDeadLetter(None, b"damaged", damaged.headers, 0))
        plan = await (await DeadLetterScan.begin(topic)).scan(lambda: ReplayPlan(ReplayPolicy(), TABLE, dry_run=True))
        assert plan.accepted == {ErrorClass.INVALID_EVENT: 1, ErrorClass.STORE_UNAVAILABLE: 1}
        assert plan.refused == {
            (ErrorClass.INVALID_EVENT, "InvalidJSON"): 1,
            (ErrorClass.STORE_UNAVAILABLE, "InvalidName"): 1,
            (ErrorClass.STORE_UNAVAILABLE, "DamagedLetter"): 1,
        }
        report = report_plan(plan)
        assert (report["dry_run"], report["remaining"]) == (True, 3)
        assert len(topic.records[0]) == 5

    async def test_another_table_is_named_beforehand(self) -> None:
        plan = await (await DeadLetterScan.begin(await topic_of(metric("m")))).scan(
            lambda: ReplayPlan(ReplayPolicy(), "other.table")
        )
        assert any("meant for default.execution_metrics" in line for line in plan_summary(plan, "other.table"))


@pytest.mark.parametrize(
    "names",
    [
        *(["n" * length + "a", "n" * length + "b"] for length in (255, 256, 300)),
        ["n" * 256 + "a", "n" * 256],
        ["\ud800", "\\ud800"],
    ],
)
async def test_a_long_name_is_not_taken_for_another(names: list[str]) -> None:
    """The header of a metric's name is cut: what stands under it may be another metric of the same event."""
    source = record(event(metrics=dict.fromkeys(names, 1)))
    topic = await topic_of(FailedEvent(source, Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "words")))
    await replay(topic, MemoryStore(refuses=lambda _: True), ReplayPolicy())
    del topic._kept[0]  # killed before it was taken down
    topic.records[0].pop()
    await replay(topic, MemoryStore(refuses=lambda _: True), ReplayPolicy())
    values = b" ".join(kept.value or b"" for kept in topic.records[0][1:])
    assert all(json.dumps(name).encode() in values for name in names)


@pytest.mark.parametrize(
    ("names", "sound"),
    [
        (["n" * 256 + "x", "n" * 256], ["n" * 256]),
        (["\ud800", "\\ud800"], ["\\ud800"]),
        (["n" * 256 + "x", "n" * 256 + "y"], []),
    ],
)
async def test_two_metrics_of_an_event_with_the_same_header_are_two_letters(names: list[str], sound: list[str]) -> None:
    source = record(event(metrics=dict.fromkeys(names, 1)))
    topic = await topic_of(FailedEvent(source, Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "words")))
    await replay(topic, MemoryStore(refuses=lambda _: True), ReplayPolicy())
    headers = [dict(kept.headers)["dlq.metric"] for kept in topic.records[0][1:]]
    assert (len(headers), len(set(headers))) == (2, 1)
    standing = await DeadLetterScan.begin(topic)
    assert (await standing.scan(DeadLetterStatistics)).total == 2
    store = MemoryStore()
    await replay(topic, store, ReplayPolicy())
    assert [row.metric_type for row in store.table] == sound
    assert (await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics)).total == 2 - len(sound)


class TestATopicThatWasMadeAgain:
    """The progress of the earlier topic is kept still: Kafka forgets it with the topic, a copied cluster may not."""

    @pytest.mark.parametrize("keeps_texts", [True, False])
    async def test_is_replayed_from_its_beginning(self, keeps_texts: bool) -> None:
        topic, store = MemoryTopic(keeps_texts=keeps_texts), MemoryStore()
        await topic.save_progress({0: ReplayProgress(1_000)}, {})
        await topic.write([metric(f"m{number}") for number in range(10)])
        plan, outcome = await replay(topic, store, ReplayPolicy(max_metrics=4))
        assert (exit_code(plan, outcome), len(store.table)) == (0, 10)
        await topic.write([metric(f"n{number}") for number in range(1_092)])
        assert (await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics)).total == 1_092

    async def test_is_known_by_what_is_done_beyond_a_gap(self) -> None:
        done = ReplayProgress()
        done.mark_range_done(5, 1_000)
        topic = MemoryTopic()
        await topic.save_progress({0: done}, {})
        await topic.write([metric(f"m{number}") for number in range(10)])
        assert (await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics)).total == 10

    async def test_is_not_one_where_another_replay_goes_on_meanwhile(self) -> None:
        class Busy(MemoryTopic):
            async def offset_ranges(self) -> Mapping[int, range]:
                found = await super().offset_ranges()
                await self.write([metric("later")])
                await self.save_progress({0: ReplayProgress(3)}, {})
                return found

        topic = Busy()
        await topic.write([metric("a"), metric("b")])
        await topic.save_progress({0: ReplayProgress(2)}, {})
        standing = await DeadLetterScan.begin(topic)
        assert (await standing.scan(DeadLetterStatistics)).total == 0
        await standing.save_progress()
        assert (await topic.load_progress())[0].first_open == 3


async def test_a_replay_counts_what_it_has_done_itself_whatever_another_does() -> None:
    topic, store = await topic_of(*(metric(f"m{number}") for number in range(6))), MemoryStore()
    other = asyncio.Event()

    async def another(_: float) -> None:
        if not other.is_set():
            other.set()
            await topic.save_progress({0: ReplayProgress(6)}, {})

    standing = await DeadLetterScan.begin(topic)
    policy = ReplayPolicy(metrics_per_second=1)
    plan = await standing.scan(lambda: ReplayPlan(policy, TABLE))
    async with rig(store, OnUnavailable.HOLD, hold=WatchedHold()) as parts:
        running = Replayer(standing, MemorySources(), parts.pipeline, WatchedHold(), policy, sleep=another)
        outcome = await running.run(asyncio.Event())
    assert other.is_set()
    assert report_result(plan, outcome)["remaining"] == 0


async def test_what_a_killed_replay_had_written_of_an_event_is_not_written_again() -> None:
    events = (record(event(metrics={"bad": 1, "good": 2}), offset=offset) for offset in range(2))
    topic = await topic_of(*(FailedEvent(source, UNREAD) for source in events))
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    await replay(topic, store, ReplayPolicy())
    assert len(topic.records[0]) == 4
    del topic._kept[0]  # killed before it was taken down, and before the second letter
    topic.records[0].pop()
    await replay(topic, store, ReplayPolicy())
    assert len(topic.records[0]) == 4, "the second, and not the first again"
    assert (await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics)).total == 2
