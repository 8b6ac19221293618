"""After a kill, a replay writes only the dead letters that are missing, and never takes one metric for another."""

import json

import pytest

from tests.support.fakes import MemoryStore, MemoryTopic
from tests.unit.replay.harness import count_open, failed_event, replay, topic_of

SAME_HEADER = [["n" * 256 + "x", "n" * 256], ["\ud800", "\\ud800"], ["n" * 256 + "x", "n" * 256 + "y"]]


def refuse_all() -> MemoryStore:
    return MemoryStore(refuses=lambda _: True)


def kill_before_the_last_dead_letter(topic: MemoryTopic) -> None:
    """Undo what a replay did last: save its progress, and write its last dead letter."""
    del topic._kept[0]
    topic.records[0].pop()


async def test_dead_letters_of_a_killed_replay_are_not_written_again() -> None:
    topic = await topic_of(*(failed_event("bad", "good", offset=offset) for offset in range(2)))
    store = MemoryStore(refuses=lambda row: row.metric == "bad")
    await replay(topic, store)
    assert len(topic.records[0]) == 4
    kill_before_the_last_dead_letter(topic)
    await replay(topic, store)
    assert len(topic.records[0]) == 4, "the second one, and not the first again"
    assert await count_open(topic) == 2


@pytest.mark.parametrize("names", [*SAME_HEADER, *(["n" * length + "a", "n" * length + "b"] for length in (255, 300))])
async def test_metric_with_the_same_header_as_another_is_written_after_a_kill(names: list[str]) -> None:
    topic = await topic_of(failed_event(*names))
    await replay(topic, refuse_all())
    kill_before_the_last_dead_letter(topic)
    await replay(topic, refuse_all())
    values = b" ".join(kept.value or b"" for kept in topic.records[0][1:])
    assert all(json.dumps(name).encode() in values for name in names)


@pytest.mark.parametrize(("names", "valid"), [*zip(SAME_HEADER, [["n" * 256], ["\\ud800"], []], strict=True)])
async def test_metrics_with_the_same_header_have_a_dead_letter_each(names: list[str], valid: list[str]) -> None:
    topic = await topic_of(failed_event(*names))
    await replay(topic, refuse_all())
    headers = [dict(kept.headers)["dlq.metric"] for kept in topic.records[0][1:]]
    assert (len(headers), len(set(headers))) == (2, 1)
    assert await count_open(topic) == 2
    store = MemoryStore()
    await replay(topic, store)
    assert [row.metric_type for row in store.table] == valid
    assert await count_open(topic) == 2 - len(valid)
