"""How many records a second producers have written to a topic lately."""

from collections.abc import Mapping

from worker.kafka.topic_reader import KafkaTopicReader

RATE_SECONDS = 300


async def fetch_rate(reader: KafkaTopicReader, ranges: Mapping[int, range], now: int) -> float | None:
    """Records a second in the last `RATE_SECONDS` before `now` (ms), by their timestamps.

    Markers of transactions and what compaction has removed count as records. None if Kafka's answer contradicts the
    records: Tansu returns offset 0 for any time.

    Args:
        reader: is started.
        ranges: the offsets of each partition now.
        now: in milliseconds since 1970.

    Raises:
        DependencyError: Kafka cannot be reached, or refuses.
    """
    since = now - RATE_SECONDS * 1_000
    first = await reader.fetch_offsets_since(since)
    recent = {number: len(range(first[number], offsets.stop)) for number, offsets in ranges.items() if number in first}
    if not any(recent.values()):
        return 0.0
    busiest = max(recent, key=recent.__getitem__)
    if not await _is_first_since(reader, busiest, first[busiest], ranges[busiest], since):
        return None
    return sum(recent.values()) / RATE_SECONDS


async def _is_first_since(reader: KafkaTopicReader, partition: int, offset: int, offsets: range, since: int) -> bool:
    """Whether the record at `offset` is from `since` on, and the one before it is not."""
    around = range(max(offsets.start, offset - 1), offset + 1)
    return all(
        [
            (record.timestamp >= since) is (record.offset == offset)
            async for some in reader.read(partition, around)
            for record in some
        ]
    )
