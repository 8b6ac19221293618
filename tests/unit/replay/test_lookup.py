"""Single records of the topic are found without reading all of it."""

from tests.support.fakes import MemoryTopic
from tests.unit.replay.harness import failed_metric
from worker.core.model import DeadLetterPosition
from worker.replay.lookup import read_at


async def find(topic: MemoryTopic, *positions: tuple[int, int]) -> list[tuple[int, int]]:
    return [
        (item.position.partition, item.position.offset)
        async for item in read_at(topic, [DeadLetterPosition(*each) for each in positions])
    ]


async def test_only_what_is_asked_for_is_yielded_in_order() -> None:
    topic = MemoryTopic(partitions=2)
    await topic.write([failed_metric("a")] * 1_000)
    asked = [(0, 0), (0, 3), (0, 499), (1, 2), (1, 3)]
    assert await find(topic, *asked) == asked
    assert topic.handed_out < 20
    assert await find(topic) == []


async def test_near_positions_are_read_at_once_and_deleted_ones_are_left_out() -> None:
    topic = MemoryTopic()
    await topic.write([failed_metric("a")] * 100)
    asked = [(0, offset) for offset in range(0, 100, 10)]
    topic.starts[0] = 15
    assert await find(topic, *asked) == asked[2:]
    assert topic.handed_out <= 100
