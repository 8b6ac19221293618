"""Which dead letters a scan finds open, beside other replays and after the topic was deleted and created again."""

from collections.abc import AsyncGenerator, Mapping, Sequence

import pytest

from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import count_open, failed_metric, replay, topic_of
from worker.core.model import DeadLetterPosition, Record, UnreadableRecord
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.progress import ReplayProgress
from worker.dead_letters.statistics import DeadLetterStatistics
from worker.replay.plan import ReplayPolicy
from worker.replay.scan import DeadLetterScan

TEN = [failed_metric(f"m{number}") for number in range(10)]


@pytest.mark.parametrize("keeps_texts", [True, False])
async def test_topic_that_was_created_again_is_replayed_from_its_beginning(keeps_texts: bool) -> None:
    topic, store = MemoryTopic(keeps_texts=keeps_texts), MemoryStore()
    await topic.save_progress({0: ReplayProgress(1_000)}, {})
    await topic.write(TEN)
    _, result = await replay(topic, store, ReplayPolicy(max_metrics=4))
    assert (result.written.total(), len(store.table)) == (10, 10)
    await topic.write([failed_metric(f"n{number}") for number in range(1_092)])
    assert await count_open(topic) == 1_092


async def test_progress_after_a_gap_beyond_the_end_is_that_of_a_deleted_topic() -> None:
    done = ReplayProgress()
    done.mark_range_done(5, 1_000)
    topic = MemoryTopic()
    await topic.save_progress({0: done}, {})
    await topic.write(TEN)
    assert await count_open(topic) == 10


async def test_progress_of_a_concurrent_replay_is_not_that_of_a_deleted_topic() -> None:
    class TopicWithAnotherReplay(MemoryTopic):
        async def fetch_offset_ranges(self) -> Mapping[int, range]:
            found = await super().fetch_offset_ranges()
            await self.write([failed_metric("later")])
            await self.save_progress({0: ReplayProgress(3)}, {})
            return found

    topic = TopicWithAnotherReplay()
    await topic.write([failed_metric("a"), failed_metric("b")])
    await topic.save_progress({0: ReplayProgress(2)}, {})
    scan = await DeadLetterScan.begin(topic)
    assert (await scan.scan(DeadLetterStatistics)).total == 0
    await scan.save_progress()
    assert (await topic.load_progress())[0].first_open == 3


async def test_find_returns_the_record_at_a_position_or_none() -> None:
    scan = await DeadLetterScan.begin(await topic_of(failed_metric("a"), failed_metric("b")))
    found = await scan.find(DeadLetterPosition(0, 1))
    assert isinstance(found, DeadLetter)
    assert found.metric == "b"
    assert await scan.find(DeadLetterPosition(0, 2)) is None
    assert await scan.find(DeadLetterPosition(1, 0)) is None


class TopicWithUnreadableBatch(MemoryTopic):
    """One record, the last of its batch, stands for every offset of a record batch."""

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        yield [*dict.fromkeys(self.records[partition][offsets.start : offsets.stop])]


@pytest.mark.parametrize("first", [0, 1])
async def test_dead_letters_of_an_unreadable_batch_stay_open(first: int) -> None:
    topic, store = TopicWithUnreadableBatch(), MemoryStore()
    await topic.write([failed_metric(f"m{number}") for number in range(first)])
    unreadable = UnreadableRecord("execution-completed.dlq", 0, first + 2, first_offset=first)
    topic.records[0] += [unreadable] * 3
    await topic.write([failed_metric("after")])
    scan = await DeadLetterScan.begin(topic)
    statistics = await scan.scan(DeadLetterStatistics)
    assert (statistics.total, statistics.foreign) == (first + 1, 3)
    preview, result = await replay(topic, store)
    assert (preview.foreign, preview.remaining, result.written.total()) == (3, 3, first + 1)
    progress = (await topic.load_progress())[0]
    assert [offset for offset in range(first + 4) if offset not in progress] == [*range(first, first + 3)]


async def test_gap_before_an_unreadable_batch_is_settled() -> None:
    topic = TopicWithUnreadableBatch()
    topic.records[0] += [UnreadableRecord("execution-completed.dlq", 0, 3, first_offset=2)] * 4
    scan = await DeadLetterScan.begin(topic)
    await scan.scan(DeadLetterStatistics)
    assert [offset for offset in range(4) if offset not in scan.progress[0]] == [2, 3]
