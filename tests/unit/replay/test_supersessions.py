"""Which of several dead letters of one metric is open, rule by rule; `test_replay_machine` mixes the rules."""

import pytest

from tests.support.events import event, read, record
from tests.support.fakes import MemoryTopic
from tests.unit.replay.harness import REFUSED, UNKNOWN_VERSION
from worker.core.model import DeadLetterPosition, FailedEvent, FailedMetric, ReplayedRecord
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.record_format import encode_dead_letter
from worker.replay import supersessions
from worker.replay.scan import DeadLetterScan

FIRST = DeadLetterPosition(0, 0)


class Positions:
    """The positions of all open dead letters."""

    def __init__(self) -> None:
        self.found: set[DeadLetterPosition] = set()

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        self.found.add(item.position)


class TopicBuilder:
    """Writes dead letters as workers and replays do; each method returns the position of the new one."""

    def __init__(self, partitions: int = 1) -> None:
        self.topic = MemoryTopic(partitions)

    def metric(self, name: str = "m") -> DeadLetterPosition:
        return self._keep(FailedMetric(read(event()), name, 1, REFUSED, 1))

    def event(self) -> DeadLetterPosition:
        return self._keep(FailedEvent(record(event()), UNKNOWN_VERSION))

    def metric_replacing(
        self,
        replaced: DeadLetterPosition,
        name: str = "m",
        *,
        source: int = 0,
        part_of: DeadLetterPosition | None = None,
    ) -> DeadLetterPosition:
        return self._keep_metric(_replayed(replaced, source, part_of=part_of), name)

    def part_of(
        self, event: DeadLetterPosition, name: str = "m", *, source: int = 0, partition: int = 0
    ) -> DeadLetterPosition:
        return self._keep_metric(_replayed(event, source, whole=True), name, partition)

    def event_replacing(
        self, replaced: DeadLetterPosition, *, source: int = 0, partition: int = 0
    ) -> DeadLetterPosition:
        return self._keep(FailedEvent(_replayed(replaced, source, whole=True), UNKNOWN_VERSION), partition)

    async def mark_done(self, *positions: DeadLetterPosition) -> None:
        done = ReplayProgress()
        for position in positions:
            done.mark_done(position.offset)
        await self.topic.save_progress({0: done}, {})

    async def scan(self) -> DeadLetterScan:
        scan = await DeadLetterScan.begin(self.topic)
        await scan.scan(Positions)
        return scan

    async def find_open(self) -> set[DeadLetterPosition]:
        scan = await DeadLetterScan.begin(self.topic)
        found = (await scan.scan(Positions)).found
        read_again = {item.position async for items in scan.read_batches() for item in items}
        assert read_again == found, "a replay reads what the scan has found"
        await scan.save_progress()
        assert (await (await DeadLetterScan.begin(self.topic)).scan(Positions)).found == found, "so does the next scan"
        return found

    def _keep_metric(self, replayed: ReplayedRecord, name: str, partition: int = 0) -> DeadLetterPosition:
        return self._keep(FailedMetric(read(event())._replace(record=replayed), name, 1, REFUSED, 1), partition)

    def _keep(self, failed: FailedMetric | FailedEvent, partition: int = 0) -> DeadLetterPosition:
        kept = self.topic.keep(encode_dead_letter(failed, self.topic.HEAD, 0), partition)
        return DeadLetterPosition(kept.partition, kept.offset)


def _replayed(
    replaces: DeadLetterPosition, source: int, *, whole: bool = False, part_of: DeadLetterPosition | None = None
) -> ReplayedRecord:
    of = record(event(), offset=source)
    return ReplayedRecord(
        of.topic, of.partition, source, of.timestamp, of.key, of.value, of.headers, 1, 1, replaces, whole, part_of
    )


@pytest.fixture
def topic() -> TopicBuilder:
    return TopicBuilder()


async def test_replaced_dead_letter_is_settled(topic: TopicBuilder) -> None:
    newest = topic.metric_replacing(topic.metric_replacing(topic.metric()))
    assert await topic.find_open() == {newest}


@pytest.mark.parametrize(("name", "source"), [("another", 0), ("m", 1)])
async def test_dead_letter_of_something_else_is_not_replaced(topic: TopicBuilder, name: str, source: int) -> None:
    """In a copy of the topic, what is at the offset may be something else."""
    other, new = topic.metric(), topic.metric_replacing(FIRST, name, source=source)
    assert await topic.find_open() == {other, new}


async def test_event_does_not_supersede_parts_of_another_event(topic: TopicBuilder) -> None:
    event, part = topic.event(), topic.part_of(FIRST, source=7)
    assert await topic.find_open() == {event, part}


async def test_event_supersedes_only_its_own_parts(topic: TopicBuilder) -> None:
    event = topic.event()
    topic.part_of(event)
    other = topic.part_of(event, source=7)
    assert await topic.find_open() == {event, other}


async def test_replaced_event_does_not_settle_parts_of_another_event(topic: TopicBuilder) -> None:
    absent = DeadLetterPosition(0, 7)
    part, event = topic.part_of(absent, source=1), topic.event_replacing(absent, source=2)
    assert await topic.find_open() == {event, part}


async def test_second_replacement_of_two_concurrent_replays_is_settled(topic: TopicBuilder) -> None:
    old = topic.metric()
    first, _second = topic.metric_replacing(old), topic.metric_replacing(old)
    assert await topic.find_open() == {first}


async def test_second_part_of_two_concurrent_replays_is_settled(topic: TopicBuilder) -> None:
    event = topic.event()
    first, _second, other = topic.part_of(event), topic.part_of(event), topic.part_of(event, "other")
    await topic.mark_done(event)
    assert await topic.find_open() == {first, other}


async def test_open_event_supersedes_its_parts_until_it_is_settled(topic: TopicBuilder) -> None:
    event = topic.event()
    part, other = topic.part_of(event, "a"), topic.part_of(event, "b")
    assert await topic.find_open() == {event}
    await topic.mark_done(event)
    assert await topic.find_open() == {part, other}
    newer = topic.metric_replacing(part, "a", part_of=event)
    assert await topic.find_open() == {newer, other}


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("part_first", [False, True])
async def test_parts_of_an_event_that_was_replaced_as_a_whole_are_settled(settled: bool, part_first: bool) -> None:
    topic = TopicBuilder(partitions=2)
    event = topic.event()
    topic.part_of(event, partition=int(not part_first))
    again = topic.event_replacing(event, partition=int(part_first))
    if settled:
        await topic.mark_done(event)
    assert await topic.find_open() == {again}
    newest = topic.event_replacing(again)
    assert await topic.find_open() == {newest}, "although the one that settles the part is settled itself"


async def test_settled_dead_letters_are_read_too_if_progress_was_forgotten(topic: TopicBuilder) -> None:
    open_one = topic.metric("open")
    replacement = topic.metric_replacing(topic.metric())
    newest = topic.metric_replacing(replacement)
    done = ReplayProgress(0, forgotten_before=3)
    done.mark_done(replacement.offset)
    await topic.topic.save_progress({0: done}, {})
    assert await topic.find_open() == {open_one, newest}


async def test_replacements_in_memory_are_bounded(topic: TopicBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersessions, "MAX_SUPERSESSIONS", 10)
    for number, old in enumerate([topic.metric(f"m{number}") for number in range(30)]):
        topic.metric_replacing(old, f"m{number}")
    assert len(await topic.find_open()) == 30 + 30 - 10, "the others stay twice, which the view does not show"


async def test_parts_in_memory_are_bounded(topic: TopicBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersessions, "MAX_SUPERSESSIONS", 10)
    for number in range(30):
        topic.part_of(DeadLetterPosition(0, 500), f"\\{number}")
    assert (await topic.scan()).supersessions._count <= 10


async def test_topic_is_read_once_if_all_replays_saved_their_progress(topic: TopicBuilder) -> None:
    old, event = topic.metric(), topic.event()
    topic.metric_replacing(old)
    topic.part_of(event, "a")
    topic.part_of(event, "b")
    replaced = topic.event()
    topic.event_replacing(replaced)
    await topic.mark_done(old, event, replaced)
    scan = await topic.scan()
    assert topic.topic.handed_out == sum(len(offsets) - 2 for offsets in scan.offset_ranges.values())
