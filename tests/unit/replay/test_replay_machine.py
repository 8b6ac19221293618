"""In any order of failures, replays, filters, settlements and kills, no metric is lost.

Each is a row, has an open dead letter, was discarded, or had a dead letter that retention has deleted. It has one dead
letter, but for two replays at once, and for a kill while a whole event is replayed: then a metric of it can have two.


Worker and replays are the real ones; store and topic are in memory.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.events import JANUARY_2026, Record, event, record
from tests.support.fakes import MISCONFIGURED, UNAVAILABLE, MemorySources, MemoryStore, MemoryTopic, StoredRow
from tests.support.worker_harness import FAILURE_LOG, open_worker_harness
from tests.unit.replay.harness import ENTRY, UNKNOWN_VERSION
from worker.core import model
from worker.core.errors import ErrorClass, InvalidEvent
from worker.core.model import Event, Failed, FailedEvent, FailedMetric
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.record_format import parse_dead_letter
from worker.dead_letters.settlement import Action, OffsetRun, identify, is_settlement
from worker.events.decode import EventPolicy, decode
from worker.pipeline import Pipeline
from worker.replay.event_editor import EventEditor
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.result import ReplayResult
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.replay.supersessions import Identity, identify_failure
from worker.writing.on_unavailable import OnUnavailable

T = TypeVar("T")

METRICS = ("a", "b", "c", "large")
RENAMED = "b edited"
RENAME = f'.metrics |= with_entries(if .key == "b" then .key = "{RENAMED}" else . end)'


class Killed(BaseException):
    """Simulates SIGKILL: no handler of the program catches it."""


def after(count: int, act: Callable[[], object]) -> Callable[[], object]:
    """Return a function that calls `act` when it is called for the `count`-th time."""
    calls = iter(range(1, 1_000_000))

    def watch() -> None:
        if next(calls) == count:
            act()

    return watch


def kill() -> None:
    raise Killed


@contextmanager
def older_version() -> Iterator[None]:
    """Replace the decoder by that of an older worker, which refuses every event."""

    def refuse(_: Record, _policy: EventPolicy) -> Event:
        raise InvalidEvent("UnknownVersion", "an old worker did not know it")

    with patch("worker.events.fan_out.decode", refuse):
        yield


metrics = st.dictionaries(
    st.sampled_from(METRICS), st.sampled_from([1, -1, 2.5, True, float("nan"), "text"]), min_size=1, max_size=4
)
selections = st.one_of(
    st.just(DeadLetterFilter()),
    st.builds(
        DeadLetterFilter,
        error_classes=st.sets(st.sampled_from(ErrorClass), max_size=2).map(frozenset),
        metrics=st.sets(st.sampled_from(METRICS), max_size=2).map(frozenset),
        agents=st.sampled_from([frozenset(), frozenset({"x"})]),
        partition=st.sampled_from([None, None, 0]),
    ),
)
policies = st.builds(
    ReplayPolicy,
    filter=selections,
    max_replays=st.sampled_from([1, 2, 100]),
    limit=st.sampled_from([None, None, 1, 3]),
    max_metrics=st.sampled_from([1, 2, 100]),
)


class InlineExecutor(ThreadPoolExecutor):
    """Runs work where it is submitted: with threads, two replays at once would take other turns each time."""

    def submit(self, work: Callable[..., T], /, *arguments: Any, **options: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(work(*arguments, **options))
        except Exception as error:  # noqa: BLE001 - as a thread does
            future.set_exception(error)
        return future


class Replays(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(InlineExecutor())
        self.refused: set[str] = {"a", "b", RENAMED}
        self.store = MemoryStore(refuses=lambda row: row.metric in self.refused)
        self.topic = MemoryTopic(partitions=2)
        self.topic.too_large = _is_large
        self.sources = MemorySources()
        self.events: list[Record] = []
        self.may_stand_twice = False
        self.killed_events: set[tuple[str, int, int]] = set()
        self.may_be_gone: set[Identity] = set()

    # Steps of the worker

    @rule(measured=st.lists(metrics, min_size=1, max_size=3), agent=st.sampled_from("xy"), down=st.booleans())
    def worker_processes_events(self, measured: list[dict[str, Any]], agent: str, down: bool) -> None:
        records = [self.new_event(item, agent) for item in measured]
        self.loop.run_until_complete(self.process(records, down=down))

    @rule(measured=metrics, garbage=st.booleans())
    def old_worker_refuses_event(self, measured: dict[str, Any], garbage: bool) -> None:
        source = self.new_event(measured, "x", garbage=garbage)
        self.loop.run_until_complete(self.topic.write([FailedEvent(source, UNKNOWN_VERSION)]))

    @rule(metric=st.sampled_from([*METRICS, RENAMED]))
    def constraint_is_added_or_dropped(self, metric: str) -> None:
        self.refused ^= {metric}

    # Replays

    @rule(policy=policies)
    def replay_succeeds(self, policy: ReplayPolicy) -> None:
        assert self.replay(policy).problem is None

    @rule(policy=policies, when=st.integers(1, 6))
    def replay_is_killed_at_the_topic(self, policy: ReplayPolicy, when: int) -> None:
        self.topic.watch = after(when, kill)
        self.replay_and_be_killed(policy)

    @rule(when=st.integers(2, 5))
    def replay_of_everything_is_killed_at_the_topic(self, when: int) -> None:
        self.topic.watch = after(when, kill)
        self.replay_and_be_killed(ReplayPolicy(max_replays=100))

    @rule(policy=policies)
    def edit_succeeds(self, policy: ReplayPolicy) -> None:
        assert self.replay(policy, edits=True).problem is None

    @rule(policy=policies, when=st.integers(1, 6), at_store=st.booleans())
    def edit_is_killed(self, policy: ReplayPolicy, when: int, at_store: bool) -> None:
        if at_store:
            self.store.watch = after(when, kill)
        else:
            self.topic.watch = after(when, kill)
        self.replay_and_be_killed(policy, edits=True)

    @rule(when=st.integers(2, 5))
    def edit_of_everything_is_killed_at_the_topic(self, when: int) -> None:
        self.worker_processes_events([{"b": 1}], "x", down=False)
        self.topic.watch = after(when, kill)
        self.replay_and_be_killed(ReplayPolicy(max_replays=100), edits=True)

    @rule(policy=policies)
    def older_version_replays(self, policy: ReplayPolicy) -> None:
        with older_version():
            assert self.replay(policy).problem is None

    @rule(when=st.integers(2, 5), measured=metrics, times=st.integers(1, 2))
    def older_version_replays_after_a_kill(self, when: int, measured: dict[str, Any], times: int) -> None:
        self.old_worker_refuses_event(measured, garbage=False)
        self.replay_of_everything_is_killed_at_the_topic(when)
        for _ in range(times):
            with older_version():
                self.replay(ReplayPolicy(max_replays=100))

    @rule(policy=policies, when=st.integers(1, 6))
    def replay_of_an_older_version_is_killed_at_the_topic(self, policy: ReplayPolicy, when: int) -> None:
        self.topic.watch = after(when, kill)
        with older_version():
            self.replay_and_be_killed(policy)

    @rule(policy=policies, when=st.integers(1, 4))
    def replay_is_killed_at_the_store(self, policy: ReplayPolicy, when: int) -> None:
        self.store.watch = after(when, kill)
        self.replay_and_be_killed(policy)

    @rule(policy=policies, when=st.integers(1, 3), misconfigures=st.booleans())
    def store_fails_during_a_replay(self, policy: ReplayPolicy, when: int, misconfigures: bool) -> None:
        before = [len(records) for records in self.topic.records]
        failing = MISCONFIGURED if misconfigures else UNAVAILABLE
        self.store.watch = after(when, lambda: setattr(self.store, "down", failing))
        result = self.replay(policy)
        if self.store.down:
            assert result.problem is not None
            assert result.problem.startswith("ClickHouse: ")
            classes = {letter.failure.error_class for letter in self.new_letters(before)}
            assert ErrorClass.STORE_UNAVAILABLE not in classes, "an outage makes no dead letters of dead letters"
        self.store.down = None

    @rule(policy=policies, lost=st.integers(1, 3))
    def answers_of_the_store_are_lost(self, policy: ReplayPolicy, lost: int) -> None:
        self.store.lose_answers(min(lost, 2))
        self.replay(policy)
        self.store._next_inserts.clear()

    @rule(policy=policies, missing=st.one_of(st.none(), st.sets(st.integers(0, 3), min_size=1)))
    def topic_does_not_acknowledge(self, policy: ReplayPolicy, missing: set[int] | None) -> None:
        self.topic.fail_writes(missing)
        self.replay(policy)
        self.topic._next_writes.clear()

    @rule(policy=policies, when=st.integers(1, 4))
    def replay_is_stopped(self, policy: ReplayPolicy, when: int) -> None:
        stop = asyncio.Event()
        self.store.watch = after(when, stop.set)
        assert self.replay(policy, stop).problem is None

    @rule(policy=policies, other=policies, edits=st.booleans())
    def two_replays_run_at_once(self, policy: ReplayPolicy, other: ReplayPolicy, edits: bool) -> None:
        async def both() -> None:
            await asyncio.gather(
                self.run_replay(policy, asyncio.Event()), self.run_replay(other, asyncio.Event(), edits=edits)
            )

        self.may_stand_twice = True
        self.loop.run_until_complete(both())

    # Settlements by hand, retention, and another topic

    @rule(data=st.data(), action=st.sampled_from([Action.DISCARDED, Action.REOPENED]))
    def some_are_discarded_or_reopened(self, data: st.DataObject, action: Action) -> None:
        partition = data.draw(st.integers(0, 1))
        start, records = self.topic.starts[partition], self.topic.records[partition]
        if start == len(records):
            return
        first = data.draw(st.integers(start, len(records) - 1))
        last = data.draw(st.integers(first, len(records) - 1))
        run = OffsetRun(first, last, identify(records[last]))
        self.loop.run_until_complete(self.topic.append(partition, ENTRY._replace(action=action, runs=(run,))))
        if action is Action.DISCARDED:
            self.note_gone(records[first : last + 1])
        else:
            self.may_stand_twice = True  # a dead letter, and the one that has replaced it

    @rule(data=st.data(), partition=st.integers(0, 1))
    def retention_deletes_some(self, data: st.DataObject, partition: int) -> None:
        start, records = self.topic.starts[partition], self.topic.records[partition]
        self.topic.starts[partition] = data.draw(st.integers(start, len(records)))
        self.note_gone(records[start : self.topic.starts[partition]])

    @rule(data=st.data())
    def topic_is_created_again_and_filled_by_a_mirror(self, data: st.DataObject) -> None:
        """The mirror copies what retention has left. Where the offsets differ, no settlement may be believed."""
        for partition in range(2):
            self.retention_deletes_some(data, partition)
        mirror = MemoryTopic(partitions=2)
        mirror.too_large = _is_large
        standing = self.count_open()
        for partition, records in enumerate(self.topic.records):
            for kept in records[self.topic.starts[partition] :]:
                copy = EncodedDeadLetter(kept.key, kept.value or b"", kept.headers, kept.timestamp)
                mirror.keep(copy, partition)
        mirror._times = self.topic._times
        self.may_stand_twice |= any(self.topic.starts)
        self.topic = mirror
        # Of two for one metric, which an older version may have left, one is enough.
        assert self.count_open().keys() >= standing.keys(), "an open dead letter counts as settled"

    # Invariants

    @invariant()
    def each_metric_is_a_row_or_has_one_dead_letter(self) -> None:
        if not hasattr(self, "events"):
            return
        open_letters = self.count_open()
        rows = {(row.source, row.metric_type): row for row in self.store.table}
        for source in self.events:
            position = (source.topic, source.partition, source.offset)
            of_event = open_letters[position, None]
            if _decode(source) is None and (position, None) not in self.may_be_gone:
                assert of_event == 1 or (self.may_stand_twice and of_event), f"{source.offset} has {of_event} letters"
            for name, value in _numbers(source):
                names = _names_of(name)
                row = next((rows[position, each] for each in names if (position, each) in rows), None)
                if row is not None:
                    assert repr(row.metric_value) == repr(float(value)), "the value has changed"
                    assert row.recorded_at == source.timestamp
                letters = sum(open_letters[position, each] for each in names) + of_event
                gone = {*((position, each) for each in names), (position, None)} & self.may_be_gone
                assert row is not None or letters or gone, f"{name} of {source.offset} is lost"
                if not self.may_stand_twice and position not in self.killed_events:
                    assert letters <= 1 or row is not None, f"{name} of {source.offset} has {letters} letters"

    def teardown(self) -> None:
        if not hasattr(self, "events"):
            return
        self.refused.clear()
        for _ in range(3):
            assert self.replay(ReplayPolicy(max_replays=1_000)).problem is None
        expected = MemoryStore()
        self.loop.run_until_complete(_without_failures(expected, self.events))
        visible, complete = _visible(self.store), _visible(expected)
        if self.may_be_gone:
            assert visible.keys() <= complete.keys()
        else:
            assert visible == complete
        left = {metric for _, metric in self.count_open()}
        assert left <= {None, RENAMED, *METRICS}
        self.loop.close()

    # Helpers

    def new_event(self, measured: dict[str, Any], agent: str, *, garbage: bool = False) -> Record:
        number = len(self.events)
        document = event(execution_id=str(UUID(int=number % 3)), agent_name=agent, metrics=measured, completed_at=None)
        source = record(b"\xff garbage" if garbage else document, offset=number, timestamp=JANUARY_2026 + number)
        self.events.append(source)
        self.sources.records[source.topic, source.partition, source.offset] = source
        return source

    async def process(self, records: list[Record], *, down: bool) -> None:
        self.store.down = UNAVAILABLE if down else None
        for item in records:
            async with open_worker_harness(
                self.store
            ) as worker:  # a new one each: its circuit breaker does not know of the outage
                clock = worker.clock
                pipeline = Pipeline(
                    worker.writer, self.topic, worker.hold, worker.telemetry, FAILURE_LOG, sleep=clock.sleep
                )
                await pipeline.process([item])
        self.store.down = None

    def replay(self, policy: ReplayPolicy, stop: asyncio.Event | None = None, *, edits: bool = False) -> ReplayResult:
        try:
            return self.loop.run_until_complete(self.run_replay(policy, stop or asyncio.Event(), edits=edits))
        finally:
            self.store.watch = self.topic.watch = lambda: None

    def replay_and_be_killed(self, policy: ReplayPolicy, *, edits: bool = False) -> None:
        try:
            self.replay(policy, edits=edits)
        except Killed:
            # Whole events may have been in the block: of each a metric can stand there, and the event as well.
            self.killed_events |= {source for source, metric in self.count_open() if metric is None}

    async def run_replay(self, policy: ReplayPolicy, stop: asyncio.Event, *, edits: bool = False) -> ReplayResult:
        scan = await DeadLetterScan.begin(self.topic)
        hold = WatchedHold()
        async with open_worker_harness(self.store, OnUnavailable.HOLD, hold=hold) as worker:
            pipeline = Pipeline(
                worker.writer, self.topic, hold, worker.telemetry, FAILURE_LOG, sleep=worker.clock.sleep
            )
            editor = rename_editor() if edits else None
            replayer = Replayer(scan, Journal(self.topic, ENTRY), self.sources, pipeline, hold, policy, editor=editor)
            return await replayer.run(stop)

    def count_open(self) -> Counter[Identity]:
        """The number of open dead letters of each record and metric."""

        async def scan() -> _Identities:
            return await (await DeadLetterScan.begin(self.topic)).scan(_Identities())

        return self.loop.run_until_complete(scan()).found

    def note_gone(self, records: Sequence[model.Record]) -> None:
        """These dead letters may not be found any more."""
        for item in records:
            letter = parse_dead_letter(item)
            if isinstance(letter, DeadLetter):
                self.may_be_gone.add(identify_failure(letter))

    def new_letters(self, before: list[int]) -> list[DeadLetter]:
        found: list[DeadLetter] = []
        for records, start in zip(self.topic.records, before, strict=True):
            for item in records[start:]:
                if not is_settlement(item):
                    letter = parse_dead_letter(item)
                    assert isinstance(letter, DeadLetter)
                    found.append(letter)
        return found


class _Identities:
    def __init__(self) -> None:
        self.found: Counter[Identity] = Counter()

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        assert isinstance(item, DeadLetter)
        self.found[identify_failure(item)] += 1


def _is_large(failed: Failed) -> bool:
    return isinstance(failed, FailedMetric) and failed.metric == "large"


def _decode(source: Record) -> Event | None:
    try:
        return decode(source)
    except InvalidEvent:
        return None


def _numbers(source: Record) -> list[tuple[str, float]]:
    """The metrics of a record that are rows when nothing fails."""
    decoded = _decode(source)
    found = decoded.metrics.items() if decoded else ()
    return [(name, value) for name, value in found if isinstance(value, int | float)]


async def _without_failures(store: MemoryStore, events: list[Record]) -> None:
    async with open_worker_harness(store) as worker:
        await worker.pipeline.process(events)


@cache
def rename_editor() -> EventEditor:
    return EventEditor(RENAME, "operator@host")


def _names_of(metric: str) -> tuple[str, ...]:
    """The names that a metric can have, with and without an edit."""
    return (metric, RENAMED) if metric == "b" else (metric,)


def _visible(store: MemoryStore) -> dict[tuple[object, ...], tuple[object, ...]]:
    """The contents of the rows of the view, as if no metric were renamed."""
    rows = sorted(store.deduplicated().items(), key=lambda item: item[1].version)
    return {
        ("b" if name == RENAMED else name, *key): _content(row._replace(metric_type="")) for (name, *key), row in rows
    }


def _content(row: StoredRow) -> tuple[object, ...]:
    return tuple(map(repr, row))


@pytest.fixture(scope="module", autouse=True)
def close_editor() -> Iterator[None]:
    yield
    rename_editor().close()


TestReplays = Replays.TestCase
TestReplays.settings = settings(deadline=None, max_examples=150, stateful_step_count=12)
