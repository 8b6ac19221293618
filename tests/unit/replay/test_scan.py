"""Which dead letters a scan finds open."""

from collections.abc import AsyncGenerator, Sequence
from itertools import chain

import pytest

from tests.support.fakes import KeptRecord, MemoryStore, MemoryTopic
from tests.unit.replay.harness import ENTRY, count_open, failed_event, failed_metric, replay, topic_of
from worker.core.model import DeadLetterPosition, Record, UnreadableRecord
from worker.dead_letters.dead_letter import DeadLetter, EncodedDeadLetter, ForeignRecord
from worker.dead_letters.filters import DeadLetterFilter
from worker.dead_letters.settlement import Action, OffsetRun, identify, is_settlement
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.replay.plan import ReplayPolicy
from worker.replay.scan import DeadLetterScan

TEN = [failed_metric(f"m{number}") for number in range(10)]


class MetricNames:
    """Collects the names of the metrics of dead letters."""

    def __init__(self) -> None:
        self.names: list[str | None] = []

    def visit(self, item: DeadLetter | ForeignRecord) -> None:
        assert isinstance(item, DeadLetter)
        self.names.append(item.metric)


async def settle(topic: MemoryTopic, first: int, last: int, action: Action = Action.DISCARDED) -> None:
    run = OffsetRun(first, last, identify(topic.records[0][last]))
    await topic.append(0, ENTRY._replace(action=action, runs=(run,)))


async def open_metrics(topic: MemoryTopic) -> list[str | None]:
    scan = await DeadLetterScan.begin(topic)
    return [item.metric async for items in scan.read_batches() for item in items if isinstance(item, DeadLetter)]


async def test_of_several_settlements_the_last_one_decides() -> None:
    topic = await topic_of(*TEN)
    await settle(topic, 0, 9)
    await settle(topic, 2, 6, Action.REOPENED)
    await settle(topic, 5, 5, Action.EDITED)
    assert await open_metrics(topic) == ["m2", "m3", "m4", "m6"]
    await settle(topic, 0, 9, Action.REOPENED)
    assert await count_open(topic) == 10


async def test_only_the_offsets_from_the_first_open_dead_letter_to_the_last_are_read_twice() -> None:
    topic = await topic_of(*(failed_metric(f"m{number}") for number in range(300)))
    await settle(topic, 0, 199)
    await settle(topic, 220, 299)
    scan = await DeadLetterScan.begin(topic)
    before = topic.handed_out
    assert (await scan.scan(DeadLetterStatistics())).total == 20
    assert topic.handed_out - before == 20


async def test_restricted_scan_reads_only_those_offsets_and_believes_settlements_behind_them() -> None:
    topic = await topic_of(*TEN)
    ranges = await topic.fetch_offset_ranges()
    await topic.write([failed_metric("later")])
    await settle(topic, 4, 4)
    scan = await DeadLetterScan.begin(topic)
    scan.restrict_to(ranges)
    assert (await scan.scan(DeadLetterStatistics())).total == 9
    before = topic.handed_out
    scan.restrict_to({0: range(3, 6)})
    assert (await scan.scan(DeadLetterStatistics())).total == 2
    assert topic.handed_out - before == 3
    scan.restrict_to({})
    assert (await scan.scan(DeadLetterStatistics())).total == 0


async def test_refresh_finds_what_is_settled_reopened_or_deleted_after_the_scan_began() -> None:
    topic = await topic_of(*TEN)
    await settle(topic, 8, 9)
    scan = await DeadLetterScan.begin(topic)
    await topic.write([failed_metric("later")])
    assert not await scan.refresh()
    await settle(topic, 0, 3)
    await settle(topic, 9, 9, Action.REOPENED)
    await settle(topic, 11, 11)  # "later", of which the scan knows nothing
    assert await scan.refresh()
    assert (await scan.scan(MetricNames())).names == ["m4", "m5", "m6", "m7", "m9"]
    before = topic.handed_out
    topic.starts[0] = 6
    assert await scan.refresh()
    assert topic.handed_out - before == 4  # only what is behind the scan
    assert (await scan.scan(MetricNames())).names == ["m6", "m7", "m9"]


async def test_refresh_finds_that_the_topic_was_created_again_with_fewer_records() -> None:
    topic = await topic_of(*TEN)
    scan = await DeadLetterScan.begin(topic)
    topic.records = (await topic_of(*TEN[:4])).records
    assert await scan.refresh()


async def test_refresh_finds_what_a_replay_has_replaced_that_is_killed_before_its_settlement() -> None:
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    scan = await DeadLetterScan.begin(topic)
    await replay(topic, MemoryStore(refuses=lambda row: row.metric == "bad"))
    topic.records[0] = topic.records[0][:4]  # the entry that it begins, and the new dead letter
    assert await scan.refresh()
    assert (await scan.scan(MetricNames())).names == ["good"]


async def test_refresh_forgets_replaced_dead_letters_that_others_have_settled_meanwhile() -> None:
    topic = await topic_of(failed_metric("bad"))
    await replay(topic, MemoryStore(refuses=lambda row: row.metric == "bad"))
    topic.records[0] = topic.records[0][:3]  # without the settlement
    scan = await DeadLetterScan.begin(topic)
    assert (await scan.scan(MetricNames())).names == ["bad"]
    assert [position.offset for position in scan.superseded] == [0]
    await settle(topic, 0, 0)
    assert await scan.refresh()
    await scan.scan(MetricNames())
    assert scan.superseded == {}


async def test_settlements_are_no_foreign_records() -> None:
    topic = await topic_of(*TEN)
    await replay(topic, MemoryStore())
    statistics = await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics())
    assert (statistics.total, statistics.foreign) == (0, 0)
    assert (await replay(topic, MemoryStore())).remaining == 0


@pytest.mark.parametrize(
    "value", [b"", b"{}", b"[]", b'{"runs": [[2, 1, 0]]}', b'{"action":"sold","operation":"1","by":"","runs":[]}']
)
async def test_settlement_that_cannot_be_read_is_foreign(value: bytes) -> None:
    topic = await topic_of(*TEN)
    topic.keep(EncodedDeadLetter(None, value, (("dlq.kind", b"settlement"),), 0))
    for foreign in (1, 0):
        statistics = await (await DeadLetterScan.begin(topic)).scan(DeadLetterStatistics())
        assert (statistics.total, statistics.foreign) == (10, foreign)
        await settle(topic, 10, 10)


async def test_dead_letter_of_a_producer_that_imitates_a_settlement_is_a_dead_letter() -> None:
    failed = failed_event("m")
    record = failed.record._replace(key=None, headers=(("dlq.kind", b"settlement"),))  # type: ignore[attr-defined]
    assert await count_open(await topic_of(failed._replace(record=record))) == 1


async def test_settlement_is_not_believed_in_a_topic_that_was_created_again_or_mirrored() -> None:
    topic = await topic_of(*TEN)
    await replay(topic, MemoryStore())
    mirror = MemoryTopic()
    for kept in topic.records[0][3:]:  # retention had deleted the first ones
        assert isinstance(kept, KeptRecord)
        mirror.keep(EncodedDeadLetter(kept.key, kept.value or b"", kept.headers, kept.timestamp))
    assert await open_metrics(mirror) == [f"m{number}" for number in range(3, 10)]
    again = await topic_of(*reversed(TEN))
    again.records[0] += [kept._replace(offset=at) for at, kept in enumerate(topic.records[0][10:], 10)]  # type: ignore[attr-defined]
    assert await count_open(again) == 10


async def test_settlement_is_believed_after_retention_has_deleted_some_of_its_dead_letters() -> None:
    topic = await topic_of(*TEN)
    await settle(topic, 0, 7)
    topic.starts[0] = 4
    assert await open_metrics(topic) == ["m8", "m9"]


async def test_settled_dead_letters_of_many_causes_stay_settled() -> None:
    topic = await topic_of(*(failed_metric("ab"[number % 3 == 0]) for number in range(9_000)))
    policy = ReplayPolicy(DeadLetterFilter(metrics=frozenset("b")), limit=1_000)
    for runs in range(1, 4):
        assert (await replay(topic, MemoryStore(), policy)).written.total() == 1_000
        assert await count_open(topic) == 9_000 - runs * 1_000


async def test_replaced_dead_letter_is_settled_without_a_settlement_and_then_with_one() -> None:
    """As after a replay that was killed between the new dead letter and the settlement."""
    topic = await topic_of(failed_metric("bad"), failed_metric("good"))
    await replay(topic, MemoryStore(refuses=lambda row: row.metric == "bad"))
    topic.records[0] = [kept for kept in topic.records[0] if kept.key is not None or b"runs" not in (kept.value or b"")]
    topic.records[0] = [kept._replace(offset=at) for at, kept in enumerate(topic.records[0])]  # type: ignore[attr-defined]
    assert await open_metrics(topic) == ["good", "bad"]
    await replay(topic, MemoryStore())
    topic.starts[0] = 0
    assert await open_metrics(topic) == []


@pytest.mark.parametrize("partitions", [1, 2])
async def test_of_two_replacements_of_one_dead_letter_in_a_partition_the_last_one_is_open(partitions: int) -> None:
    """As after two replays at once. In two partitions a settlement of the one may be earlier than the other."""
    topic = MemoryTopic(partitions=partitions)
    await topic.write([failed_metric("bad")])
    await replay(topic, MemoryStore(refuses=lambda _: True))
    replacement = max(
        (kept for kept in chain(*topic.records) if not is_settlement(kept)), key=lambda kept: kept.timestamp
    )
    again = EncodedDeadLetter(replacement.key, replacement.value or b"", replacement.headers, replacement.timestamp)
    topic.keep(again, (replacement.partition + 1) % partitions)
    assert await count_open(topic) == partitions
    result = await replay(topic, MemoryStore(refuses=lambda _: True))
    assert result.failed_again.total() == partitions


async def test_dead_letter_that_says_that_it_replaces_itself_is_open() -> None:
    topic = await topic_of(failed_metric("m"))
    kept = topic.records[0][0]
    topic.records[0][0] = kept._replace(headers=(*kept.headers, ("dlq.replaces", b"0:0")))  # type: ignore[attr-defined]
    assert await count_open(topic) == 1


async def test_older_dead_letter_does_not_replace_a_newer_one_in_a_copy_of_the_topic() -> None:
    """In a copy the offsets are smaller, so the offset that it names may be that of a later dead letter."""
    topic = await topic_of(failed_metric("m"))
    for _ in range(2):
        await replay(topic, MemoryStore(refuses=lambda _: True))
    first, second = (kept for kept in topic.records[0][1:] if not is_settlement(kept))
    copy = MemoryTopic()
    copy.keep(EncodedDeadLetter(first.key, first.value or b"", replacing(first, b"0:1"), first.timestamp))
    copy.keep(EncodedDeadLetter(second.key, second.value or b"", second.headers, second.timestamp))
    assert await count_open(copy) == 2


def replacing(kept: Record, position: bytes) -> tuple[tuple[str, bytes | None], ...]:
    """The headers of `kept`, which name `position` as the place of the dead letter that it replaces."""
    return tuple((name, position if name == "dlq.replaces" else value) for name, value in kept.headers)


async def test_find_returns_the_record_at_a_position_or_none() -> None:
    scan = await DeadLetterScan.begin(await topic_of(failed_metric("a"), failed_metric("b")))
    found = await scan.find(DeadLetterPosition(0, 1))
    assert isinstance(found, DeadLetter)
    assert found.metric == "b"
    assert await scan.find(DeadLetterPosition(0, 2)) is None
    assert await scan.find(DeadLetterPosition(1, 0)) is None


async def test_find_says_of_a_settlement_what_it_is() -> None:
    topic = await topic_of(failed_metric("a"))
    await settle(topic, 0, 0)
    found = await (await DeadLetterScan.begin(topic)).find(DeadLetterPosition(0, 1))
    assert isinstance(found, ForeignRecord)
    assert "settlement" in found.reason


class TopicWithUnreadableBatch(MemoryTopic):
    """One record, the last of its batch, stands for every offset of a record batch."""

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        yield [*dict.fromkeys(self.records[partition][offsets.start : offsets.stop])]


@pytest.mark.parametrize("first", [0, 1])
async def test_records_of_an_unreadable_batch_are_foreign(first: int) -> None:
    topic, store = TopicWithUnreadableBatch(), MemoryStore()
    await topic.write([failed_metric(f"m{number}") for number in range(first)])
    unreadable = UnreadableRecord("execution-completed.dlq", 0, first + 2, first_offset=first)
    topic.records[0] += [unreadable] * 3
    await topic.write([failed_metric("after")])
    for written in (first + 1, 0):
        result = await replay(topic, store)
        assert (result.selection.foreign, result.remaining, result.written.total()) == (3, 3, written)


async def test_find_returns_the_unreadable_batch_that_has_the_offset() -> None:
    topic = TopicWithUnreadableBatch()
    unreadable = UnreadableRecord("execution-completed.dlq", 0, 2, first_offset=0)
    topic.records[0] += [unreadable] * 3
    await topic.write([failed_metric("after")])
    scan = await DeadLetterScan.begin(topic)
    found = [await scan.find(DeadLetterPosition(0, offset)) for offset in range(4)]
    assert [item and item.record for item in found[:3]] == [unreadable] * 3
    assert isinstance(found[3], DeadLetter)
