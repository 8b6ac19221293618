"""Which events of a file or a topic are measured."""

from io import BytesIO

from tests.support.events import Record
from tests.support.fakes import MemoryTopic
from worker.planning.sample import MAX_EVENTS, Sample, sample_lines, sample_topic
from worker.validation.line_reader import read_lines


def sample(text: bytes) -> Sample:
    return sample_lines("here", read_lines(BytesIO(text), 1_000_000), timestamp=7, headers=(("a", b"b"),))


def test_first_lines_are_records() -> None:
    taken = sample(b"one\n\n  \ntwo")
    assert [(record.value, record.timestamp, record.headers) for record in taken.records] == [
        (b"one", 7, (("a", b"b"),)),
        (b"two", 7, (("a", b"b"),)),
    ]
    assert (taken.source, taken.too_long) == ("here", 0)


def test_too_long_lines_are_counted_and_left_out() -> None:
    taken = sample(b"x" * 1_000_001 + b"\nshort\n")
    assert ([record.value for record in taken.records], taken.too_long) == ([b"short"], 1)


def test_sample_of_lines_is_bounded() -> None:
    assert len(sample(b"x\n" * (MAX_EVENTS + 1)).records) == MAX_EVENTS
    assert len(sample((b"x" * 999_999 + b"\n") * 10).records) == 9  # 8 MiB


async def test_sample_of_a_topic_is_the_newest_of_each_partition() -> None:
    topic = MemoryTopic(partitions=3)
    for partition, size in enumerate((MAX_EVENTS, 2, 0)):
        topic.records[partition] = [Record(b"x", partition=partition, offset=offset) for offset in range(size)]
    records = await sample_topic(topic, await topic.fetch_offset_ranges())
    assert [record.offset for record in records if record.partition == 0] == list(range(MAX_EVENTS // 2, MAX_EVENTS))
    assert [record.offset for record in records if record.partition == 1] == [0, 1]


async def test_sample_of_a_topic_is_bounded_in_bytes() -> None:
    topic = MemoryTopic(partitions=1)
    topic.records[0] = [Record(bytes(2**20), offset=offset) for offset in range(20)]
    assert len(await sample_topic(topic, await topic.fetch_offset_ranges())) == 8
    assert await sample_topic(MemoryTopic(), {0: range(0)}) == []
