"""The numbers of open dead letters follow the topic, at a bounded cost."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from tests.support.clock import FakeClock
from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import ENTRY, REFUSED, UNAVAILABLE, failed_event, failed_metric, replay, topic_of
from worker.core.errors import DependencyError
from worker.core.model import DeadLetterPosition, Record
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.open_causes import OTHER
from worker.dead_letters.settlement import Action, OffsetRun, Settled, Settlement, identify
from worker.observability.open_dead_letters import WatchState
from worker.replay.plan import ReplayPolicy
from worker.replay.scan import DeadLetterScan
from worker.replay.watch import DeadLetterWatch

ALL = (failed_metric("a", REFUSED), failed_metric("b"), failed_metric("c"), failed_event("d"))
AWAY = "Kafka cannot be reached"
SAME_AS_STORE = REFUSED._replace(message="constraint is violated")


class Watched:
    """A watch on a topic in memory.

    Attributes:
        states: after each check.
        scans: the records that each check has read.
    """

    def __init__(self, topic: MemoryTopic, retention: float | None = None) -> None:
        self.topic = topic
        self.retention = retention
        self.is_away = False
        self.cpu_seconds = 0.0
        self.retention_requests = 0
        self.before_retention = WatchState()
        self.states: list[WatchState] = []
        self.scans: list[int] = []
        self.clock = FakeClock(self._record)
        self.watch = DeadLetterWatch(
            self._open, self._fetch_retention, self._sleep, self.clock.monotonic, self._cpu_clock
        )
        self._cpu = 0.0
        self._steps: list[Callable[[], object]] = []
        self._handed_out = 0

    async def check(self, *steps: Callable[[], object]) -> list[WatchState]:
        """Check once, and again after each of `steps`; returns the states."""
        self.states.clear()
        self.scans.clear()
        self._steps = list(steps)
        with suppress(asyncio.CancelledError):
            await self.watch.run()
        return self.states

    async def _sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        if not self._steps:
            raise asyncio.CancelledError
        result = self._steps.pop(0)()
        if asyncio.iscoroutine(result):
            await result

    def _record(self) -> None:
        self.states.append(self.watch.state)
        self.scans.append(self.topic.handed_out - self._handed_out)
        self._handed_out = self.topic.handed_out

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[MemoryTopic]:
        if self.is_away:
            raise DependencyError(AWAY)
        self._cpu += self.cpu_seconds
        yield self.topic

    async def _fetch_retention(self) -> float | None:
        self.retention_requests += 1
        self.before_retention = self.watch.state
        return self.retention

    def _cpu_clock(self) -> float:
        return self._cpu


def counts(state: WatchState) -> dict[str, int]:
    """The open dead letters by class."""
    assert state.open is not None
    found = dict.fromkeys((cause.error_class for cause in state.open.causes), 0)
    for cause in state.open.causes:
        found[cause.error_class] += cause.open_count
    return {error_class: count for error_class, count in found.items() if count}


def first_seen(state: WatchState) -> dict[str, float]:
    assert state.open is not None
    causes = [each for each in state.open.causes if each.first_seen is not None]
    assert all(each.cause != OTHER for each in causes)
    return {each.error_class: each.first_seen or 0.0 for each in causes}


async def discard(topic: MemoryTopic, first: int, last: int, action: Action = Action.DISCARDED) -> None:
    run = OffsetRun(first, last, identify(topic.records[0][last]))
    await topic.append(0, ENTRY._replace(action=action, runs=(run,)))


async def test_numbers_follow_settlements_of_every_kind() -> None:
    topic = await topic_of(*ALL)
    outages = ReplayPolicy(DeadLetterFilter(error_classes=frozenset({UNAVAILABLE.error_class})))
    states = await Watched(topic).check(
        lambda: discard(topic, 0, 0),
        lambda: replay(topic, MemoryStore(refuses=lambda row: row.metric == "b"), outages),
        lambda: discard(topic, 0, 0, Action.REOPENED),
    )
    assert list(map(counts, states)) == [
        {"row_refused": 1, "store_unavailable": 2, "invalid_event": 1},
        {"store_unavailable": 2, "invalid_event": 1},
        {"row_refused": 1, "invalid_event": 1},
        {"row_refused": 2, "invalid_event": 1},
    ]


async def test_cause_that_is_settled_and_comes_back_is_as_old_as_its_first_dead_letter() -> None:
    topic = await topic_of(failed_metric("m", REFUSED))
    before, settled, again = await Watched(topic).check(
        lambda: discard(topic, 0, 0), lambda: topic.write([failed_metric("m", REFUSED)])
    )
    assert counts(settled) == first_seen(settled) == {}
    assert first_seen(again) == first_seen(before)
    (restarted,) = await Watched(topic).check()
    assert restarted.open == again.open


async def test_replayed_dead_letter_that_fails_again_is_no_new_cause() -> None:
    topic = await topic_of(failed_metric("m", SAME_AS_STORE))
    before, after = await Watched(topic).check(lambda: replay(topic, MemoryStore(refuses=lambda _: True)))
    assert counts(after) == counts(before) == {"row_refused": 1}
    assert first_seen(after) == first_seen(before)
    assert before.open is not None
    assert after.open is not None
    assert after.open.oldest_failure != before.open.oldest_failure


async def test_dead_letters_that_retention_deletes_are_open_no_more() -> None:
    topic = await topic_of(*ALL)
    states = await Watched(topic, retention=3_600).check(
        lambda: topic.starts.__setitem__(0, 1), lambda: topic.starts.__setitem__(0, 4)
    )
    assert [sum(counts(state).values()) for state in states] == [4, 3, 0]
    assert [state.first_expiry for state in states] == [
        topic.records[0][0].timestamp / 1000 + 3_600,
        topic.records[0][1].timestamp / 1000 + 3_600,
        None,
    ]


class CompactedTopic(MemoryTopic):
    """`gone`: the offsets that compaction has deleted, without moving the bounds of the log."""

    gone: frozenset[int] = frozenset()

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        async for records in super().read(partition, offsets):
            yield [record for record in records if record.offset not in self.gone]


async def test_dead_letters_that_compaction_deletes_are_open_no_more_when_the_topic_has_changed() -> None:
    topic = CompactedTopic()
    await topic.write(ALL)

    def compact() -> object:
        topic.gone = frozenset({0, 2})
        return discard(topic, 0, 1)

    states = await Watched(topic).check(compact)
    assert [sum(counts(state).values()) for state in states] == [4, 1]


async def test_replaced_dead_letter_without_a_settlement_does_not_count() -> None:
    """As after a replay that was killed between the new dead letter and the settlement."""
    topic = await topic_of(failed_metric("m", REFUSED))
    await replay(topic, MemoryStore(refuses=lambda _: True))
    del topic.records[0][3:]  # the settlement, and the result
    (state,) = await Watched(topic).check()
    assert counts(state) == {"row_refused": 1}


async def test_topic_is_scanned_only_when_its_offsets_have_moved() -> None:
    topic = await topic_of(*ALL)
    watched = Watched(topic)
    states = await watched.check(lambda: None, lambda: topic.write(ALL[:1]), lambda: None)
    assert watched.scans == [8, 0, 10, 0]
    assert [state.last_check for state in states] == [1_000.0, 1_015.0, 1_030.0, 1_045.0]
    assert states[1].open is states[0].open


async def test_partition_that_is_added_is_scanned() -> None:
    topic = await topic_of(*ALL)
    watched = Watched(topic)

    def add_partition() -> None:
        topic.records.append([])
        topic.starts.append(0)
        topic.keep(topic.records[0][0]._replace(), 1)  # type: ignore[attr-defined]

    states = await watched.check(add_partition)
    assert [sum(counts(state).values()) for state in states] == [4, 5]


@pytest.mark.parametrize(("cpu_seconds", "pause"), [(0.5, 15.0), (20.0, 180.0)])
async def test_checks_take_at_most_a_tenth_of_the_time(cpu_seconds: float, pause: float) -> None:
    watched = Watched(await topic_of(*ALL))
    watched.cpu_seconds = cpu_seconds
    await watched.check(lambda: None)
    assert watched.clock.slept == [pause, pause]


async def test_while_kafka_is_away_the_last_numbers_stay_and_their_age_grows() -> None:
    topic = await topic_of(*ALL)
    watched = Watched(topic)
    watched.is_away = True

    def set_away(value: bool) -> Callable[[], object]:
        return lambda: setattr(watched, "is_away", value)

    first, found, lost, found_again = await watched.check(set_away(False), set_away(True), set_away(False))
    assert (first.open, first.last_check, first.problem) == (None, 0.0, AWAY)
    assert (found.last_check, found.problem) == (1_015.0, None)
    assert lost == found._replace(problem=AWAY)
    assert found_again == found._replace(last_check=1_045.0)


async def test_a_scrape_sees_the_numbers_and_the_retention_together() -> None:
    watched = Watched(await topic_of(*ALL), retention=7_200)
    (state,) = await watched.check()
    assert watched.before_retention.open is None
    assert state.first_expiry is not None


def test_watch_is_not_ready_before_its_first_check() -> None:
    assert Watched(MemoryTopic()).watch.state.problem is not None


async def test_retention_is_requested_every_ten_minutes_and_kept_when_kafka_does_not_tell_it() -> None:
    watched = Watched(await topic_of(*ALL), retention=7_200)
    (*_, state) = await watched.check(*[lambda: None] * 39)
    assert (watched.retention_requests, state.retention_seconds) == (1, 7_200)
    watched.retention = None
    (*_, state) = await watched.check(*[lambda: None] * 5)
    assert (watched.retention_requests, state.retention_seconds) == (2, 7_200)


async def test_retention_is_requested_again_after_the_clock_was_set_back() -> None:
    watched = Watched(await topic_of(*ALL), retention=7_200)
    await watched.check()
    watched.clock.advance(-86_400)
    await watched.check()
    assert watched.retention_requests == 2


class Observer:
    """Keeps what one scan shows, and the state of the watch at the end of it."""

    def __init__(self, watched: "Watched", ended: list["Observer"]) -> None:
        self._watched = watched
        self._ended = ended
        self.settlements: list[Action] = []
        self.items: list[tuple[int, Action | None]] = []
        self.state_before = WatchState()

    def add_settlement(self, _: DeadLetterPosition, settlement: Settlement, applied: int) -> None:
        assert applied == 1
        self.settlements.append(settlement.action)

    def add(self, item: DeadLetter | ForeignRecord, settled: Settled) -> None:
        self.items.append((item.position.offset, None if isinstance(settled, bool) else settled.action))

    def publish(self, scan: DeadLetterScan) -> None:
        assert scan.offset_ranges
        self.state_before = self._watched.watch.state
        self._ended.append(self)


async def test_observer_sees_each_scan_and_its_end_together_with_the_numbers() -> None:
    topic = await topic_of(*ALL)
    watched = Watched(topic)
    ended: list[Observer] = []
    watched.watch = DeadLetterWatch(
        watched._open, watched._fetch_retention, watched._sleep, create_observer=lambda: Observer(watched, ended)
    )

    def fail() -> None:
        watched.is_away = True

    before, same, after, _ = await watched.check(lambda: None, lambda: discard(topic, 1, 1), fail)
    assert [each.items for each in ended] == [
        [(0, None), (1, None), (2, None), (3, None)],
        [(0, None), (1, Action.DISCARDED), (2, None), (3, None)],
    ]
    assert [each.settlements for each in ended] == [[], [Action.DISCARDED]]
    assert ended[0].state_before.open is None
    assert ended[1].state_before.open is before.open is same.open
    assert after.open is not before.open
