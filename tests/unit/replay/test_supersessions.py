"""Which of several dead letters of one metric stands, rule by rule; the machine of `test_replay_machine` mixes them."""

import pytest

from tests.support.events import event, read, record
from tests.support.fakes import MemoryTopic
from worker.core.errors import ErrorClass
from worker.core.model import FailedEvent, FailedMetric, Failure, RecordPosition, ReplayedRecord
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.record_format import encode_dead_letter
from worker.replay import supersessions
from worker.replay.scan import DeadLetterScan

REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
UNREAD = Failure(ErrorClass.INVALID_EVENT, "UnknownVersion", "an old worker did not know it")


class Letters:
    """Writes what workers and replays write; each method gives the place of the letter."""

    def __init__(self, partitions: int = 1) -> None:
        self.topic = MemoryTopic(partitions)

    def metric(self, name: str = "m", *, source: int = 0) -> RecordPosition:
        return self._keep(
            FailedMetric(read(event())._replace(record=record(event(), offset=source)), name, 1, REFUSED, 1)
        )

    def event(self, *, source: int = 0) -> RecordPosition:
        return self._keep(FailedEvent(record(event(), offset=source), UNREAD))

    def metric_for(
        self,
        replaced: RecordPosition,
        name: str = "m",
        *,
        source: int = 0,
        part_of: RecordPosition | None = None,
        partition: int = 0,
    ) -> RecordPosition:
        again = _replayed(replaced, source, part_of=part_of)
        return self._keep(FailedMetric(read(event())._replace(record=again), name, 1, REFUSED, 1), partition)

    def part_of(self, whole: RecordPosition, name: str = "m", *, source: int = 0, partition: int = 0) -> RecordPosition:
        again = _replayed(whole, source, whole=True)
        return self._keep(FailedMetric(read(event())._replace(record=again), name, 1, REFUSED, 1), partition)

    def event_for(self, replaced: RecordPosition, *, source: int = 0, partition: int = 0) -> RecordPosition:
        return self._keep(FailedEvent(_replayed(replaced, source, whole=True), UNREAD), partition)

    async def done(self, *places: RecordPosition) -> None:
        done = ReplayProgress()
        for position in places:
            done.mark_done(position.offset)
        await self.topic.save_progress({0: done}, {})

    async def live(self) -> set[RecordPosition]:
        standing = await DeadLetterScan.begin(self.topic)
        seen = (await standing.scan(_Places)).places
        listed = {item.position async for items in standing.read_batches() for item in items}
        assert listed == seen, "what is replayed is what was looked at"
        await standing.save_progress()
        again = (await (await DeadLetterScan.begin(self.topic)).scan(_Places)).places
        assert again == seen, "and so it stays"
        return seen

    def _keep(self, failed: FailedMetric | FailedEvent, partition: int = 0) -> RecordPosition:
        kept = self.topic.keep(encode_dead_letter(failed, self.topic.HEAD, 0), partition)
        return RecordPosition(kept.partition, kept.offset)


def _replayed(
    replaces: RecordPosition, source: int, *, whole: bool = False, part_of: RecordPosition | None = None
) -> ReplayedRecord:
    of = record(event(), offset=source)
    return ReplayedRecord(
        of.topic, of.partition, source, of.timestamp, of.key, of.value, of.headers, 1, 1, replaces, whole, part_of
    )


class _Places:
    def __init__(self) -> None:
        self.places: set[RecordPosition] = set()

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        self.places.add(item.position)


async def test_a_letter_that_another_replaces_is_settled() -> None:
    letters = Letters()
    old = letters.metric()
    new = letters.metric_for(old)
    newest = letters.metric_for(new)
    assert await letters.live() == {newest}


@pytest.mark.parametrize(("name", "source"), [("another", 0), ("m", 1)])
async def test_in_a_copy_of_the_topic_nothing_is_believed_of_what_stands_elsewhere(name: str, source: int) -> None:
    letters = Letters()
    other, new = letters.metric(), letters.metric_for(RecordPosition(0, 0), name, source=source)
    assert await letters.live() == {other, new}
    letters = Letters()
    whole, part = letters.event(), letters.part_of(RecordPosition(0, 0), source=7)
    assert await letters.live() == {whole, part}
    letters = Letters()
    whole = letters.event()
    letters.part_of(whole)
    other = letters.part_of(whole, source=7)
    assert await letters.live() == {whole, other}
    letters = Letters()
    part, whole = letters.part_of(RecordPosition(0, 7), source=1), letters.event_for(RecordPosition(0, 7), source=2)
    assert await letters.live() == {whole, part}


async def test_of_two_replays_at_once_the_first_letter_stands() -> None:
    letters = Letters()
    old = letters.metric()
    first, _second = letters.metric_for(old), letters.metric_for(old)
    assert await letters.live() == {first}
    letters = Letters()
    whole = letters.event()
    first, _second = letters.part_of(whole), letters.part_of(whole)
    await letters.done(whole)
    assert await letters.live() == {first}
    letters = Letters()
    whole = letters.event()
    parts = {letters.part_of(whole, name) for name in ("a", "b")}
    await letters.done(whole)
    assert await letters.live() == parts, "they are two"


async def test_the_letter_of_an_event_stands_for_its_parts_until_it_is_settled() -> None:
    letters = Letters()
    whole = letters.event()
    part, other = letters.part_of(whole, "a"), letters.part_of(whole, "b")
    assert await letters.live() == {whole}
    await letters.done(whole)
    assert await letters.live() == {part, other}
    newer = letters.metric_for(part, "a", part_of=whole)
    assert await letters.live() == {newer, other}


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("part_first", [False, True])
async def test_of_an_event_that_was_refused_again_no_part_stands(settled: bool, part_first: bool) -> None:
    letters = Letters(partitions=2)
    whole = letters.event()
    letters.part_of(whole, partition=int(not part_first))
    again = letters.event_for(whole, partition=int(part_first))
    if settled:
        await letters.done(whole)
    assert await letters.live() == {again}
    newest = letters.event_for(again)
    assert await letters.live() == {newest}, "though what has told of the part is settled"


async def test_where_progress_is_forgotten_a_settled_letter_tells_of_others() -> None:
    letters = Letters()
    letters.metric("in the way")
    old = letters.metric()
    new = letters.metric_for(old)
    newest = letters.metric_for(new)
    done = ReplayProgress(0, forgotten_before=3)
    done.mark_done(new.offset)
    await letters.topic.save_progress({0: done}, {})
    assert await letters.live() == {RecordPosition(0, 0), newest}


async def test_what_is_kept_in_mind_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supersessions, "MAX_SUPERSESSIONS", 10)
    letters = Letters()
    olds = [letters.metric(f"m{number}") for number in range(30)]
    for number, old in enumerate(olds):
        letters.metric_for(old, f"m{number}")
    assert len(await letters.live()) == 30 + 30 - 10, "the rest stands double, which the view does not show"
    parts = Letters()
    for number in range(30):
        parts.part_of(RecordPosition(0, 500), f"\\{number}")
    standing = await DeadLetterScan.begin(parts.topic)
    await standing.scan(_Places)
    assert standing.supersessions._count <= 10


async def test_after_replays_that_ended_well_the_topic_is_read_once() -> None:
    letters = Letters()
    old, whole = letters.metric(), letters.event()
    letters.metric_for(old)
    letters.part_of(whole, "a")
    letters.part_of(whole, "b")
    letters.event_for(letters.event(source=1), source=1)
    await letters.done(old, whole, RecordPosition(0, 5))
    standing = await DeadLetterScan.begin(letters.topic)
    await standing.scan(_Places)
    assert letters.topic.handed_out == sum(len(offsets) - 2 for offsets in standing.offset_ranges.values())
