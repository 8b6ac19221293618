"""What a replay writes of a dead letter whose contents are in its source record."""

import pytest

from tests.support.events import Record, event, read, record
from tests.support.fakes import MemorySources, MemoryStore, MemoryTopic
from tests.unit.replay.harness import UNKNOWN_VERSION, replay
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure, UnreadableRecord
from worker.dead_letters.value import encode_value
from worker.events.decode import EventPolicy, decode
from worker.replay.plan import ReplayPolicy

SOURCE = record(event(metrics={"a": 1, "b": 2.5}), offset=5)
METRIC = FailedMetric(read(event(metrics={"a": 1, "b": 2.5}))._replace(record=SOURCE), "b", 2.5, UNKNOWN_VERSION, 1)
EVENT = FailedEvent(SOURCE, UNKNOWN_VERSION)


async def replay_one(failed: Failed, *sources: Record, is_pointer: bool = True) -> tuple[list[str], dict[str, int]]:
    """Return the names of the written metrics, and the reasons for which dead letters were not replayed."""
    topic, store = MemoryTopic(), MemoryStore()
    topic.too_large = lambda _: is_pointer
    await topic.write([failed])
    result = await replay(topic, store, sources=MemorySources(sources))
    reasons = {reason: count for (_, reason), count in result.unreplayable.items()}
    return [row.metric_type for row in store.table], reasons


@pytest.mark.parametrize(("failed", "written"), [(METRIC, ["b"]), (EVENT, ["a", "b"])])
async def test_source_record_is_written_if_it_has_the_digest(failed: Failed, written: list[str]) -> None:
    assert await replay_one(failed, SOURCE) == (written, {})


@pytest.mark.parametrize("failed", [METRIC, EVENT])
async def test_another_record_at_the_offset_is_not_written(failed: Failed) -> None:
    other = record(event(metrics={"a": 1, "b": 3}), offset=5)
    assert await replay_one(failed, other) == ([], {"another record is at the offset of the source record": 1})


async def test_metric_is_found_by_its_name_before_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """To encode a thousand metrics with long names takes seconds."""
    encodings = list[str]()

    def count(failed: Failed) -> bytes:
        encodings.append(failed.metric or "")
        return encode_value(failed)

    metrics = {f"{number}" + "n" * 300: number for number in range(100)}
    source = record(event(metrics=metrics), offset=5)
    failed = FailedMetric(read(event(metrics=metrics))._replace(record=source), "7" + "n" * 300, 7, UNKNOWN_VERSION, 1)
    monkeypatch.setattr("worker.replay.contents.encode_value", count)
    topic = MemoryTopic()
    topic.too_large = lambda _: True
    await topic.write([failed])
    result = await replay(topic, MemoryStore(), sources=MemorySources([source]))
    assert (result.failed_again.total(), encodings) == (1, ["7" + "n" * 300]), "the name is too long for a row"


async def test_metric_of_a_record_that_is_no_event_any_more_is_not_written() -> None:
    _, reasons = await replay_one(METRIC, SOURCE._replace(value=b"{"))
    assert [reason.partition(":")[0] for reason in reasons] == ["the source record is not an event"]


@pytest.mark.parametrize("attributes", [(), ("source",), ("traceparent",), ("source", "traceparent")])
async def test_metric_has_the_labels_that_its_worker_took_whatever_the_replay_would_take(
    attributes: tuple[str, ...],
) -> None:
    headers = (("ce_specversion", b"1.0"), ("ce_source", b"/a"), ("ce_traceparent", b"00-1"))
    source = SOURCE._replace(headers=headers)
    read_by_worker = decode(source, EventPolicy(cloudevent_labels=attributes))
    assert read_by_worker is not None
    topic, store = MemoryTopic(), MemoryStore()
    topic.too_large = lambda _: True
    await topic.write([FailedMetric(read_by_worker, "b", 2.5, UNKNOWN_VERSION, 1)])
    await replay(topic, store, sources=MemorySources([source]))
    assert [row.labels for row in store.table] == [read_by_worker.labels]
    assert len(read_by_worker.labels) == len(attributes)


async def test_event_that_was_too_old_is_replayed_when_the_limit_is_raised() -> None:
    """It is judged by the timestamp of its source record, not by the time of the replay."""
    old = record(event(completed_at="2024-11-01T00:00:00Z", metrics={"a": 1}), offset=5)  # 426 days before
    topic, store = MemoryTopic(), MemoryStore()
    await topic.write([FailedEvent(old, UNKNOWN_VERSION)])
    result = await replay(topic, store)
    assert (store.table, result.failed_again.total()) == ([], 1)
    assert topic.letters[-1].failure.error_type == "TooOld"
    await replay(topic, store, policy=ReplayPolicy(event_policy=EventPolicy(max_age_days=430)))
    assert [row.metric_type for row in store.table] == ["a"]


async def test_missing_source_record_is_reported() -> None:
    reasons = {"the source record is gone, or cannot be read": 1}
    assert await replay_one(EVENT) == ([], reasons)


async def test_dead_letter_of_a_record_batch_is_not_replayed_as_one_record() -> None:
    source = UnreadableRecord(SOURCE.topic, SOURCE.partition, SOURCE.offset, first_offset=SOURCE.offset - 1)
    failure = Failure(ErrorClass.INVALID_EVENT, source.error_type, source.reason)
    written, unreplayable = await replay_one(FailedEvent(source, failure), SOURCE, is_pointer=False)
    assert (written, [*unreplayable.values()]) == ([], [1])
    assert next(iter(unreplayable)).startswith("it stands for a whole record batch")


async def test_record_that_could_not_be_parsed_is_written_without_a_digest() -> None:
    failure = Failure(ErrorClass.INVALID_EVENT, UnreadableRecord.__name__, "the client cannot parse it")
    unreadable = UnreadableRecord(SOURCE.topic, SOURCE.partition, SOURCE.offset)
    assert await replay_one(FailedEvent(unreadable, failure), SOURCE, is_pointer=False) == (["a", "b"], {})
