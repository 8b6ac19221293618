"""Events are edited before they are replayed: what becomes rows, and what becomes dead letters again."""

import json
from hashlib import sha256
from typing import Any

import pytest

from tests.support.events import JANUARY_2026, Record, encoded, event, read, record
from tests.support.fakes import MemorySources, MemoryStore, MemoryTopic, RowRule
from tests.unit.replay.harness import ENTRY, REFUSED, UNKNOWN_VERSION, count_open, failed_event, replay, topic_of
from worker.core.model import Edit, Failed, FailedEvent, FailedMetric, UnrepresentableNumber
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.record_format import parse_dead_letter
from worker.dead_letters.settlement import Action, is_settlement, parse_settlement
from worker.replay.event_editor import EventEditor
from worker.replay.result import ReplayResult

RENAME = '.metrics |= with_entries(if .key == "mem" then .key = "memory_mb" else . end)'
BY = "operator@host"


def metric(name: str, value: float | UnrepresentableNumber = 1, **fields: Any) -> FailedMetric:
    source = record(event(metrics={"other": 2, name: value}, **fields), offset=7, timestamp=JANUARY_2026, key=b"k")
    return FailedMetric(read(event(metrics={}, **fields))._replace(record=source), name, value, REFUSED, 1)


async def edit(
    topic: MemoryTopic, expression: str, store: MemoryStore | None = None, sources: MemorySources | None = None
) -> ReplayResult:
    editor, entry = EventEditor(expression, BY), ENTRY._replace(action=Action.EDITED, edit=expression)
    try:
        return await replay(topic, store or MemoryStore(), sources=sources, entry=entry, editor=editor)
    finally:
        editor.close()


async def edit_one(failed: Failed, expression: str, refuses: RowRule | None = None) -> tuple[MemoryStore, MemoryTopic]:
    topic, store = await topic_of(failed), MemoryStore(refuses=refuses)
    await edit(topic, expression, store)
    return store, topic


async def reasons_of(failed: Failed, expression: str) -> list[str]:
    """Why the dead letter stays open, if it does."""
    topic = await topic_of(failed)
    result = await edit(topic, expression)
    assert await count_open(topic) == sum(result.unreplayable.values())
    return [reason for _, reason in result.unreplayable]


def letters(topic: MemoryTopic) -> list[DeadLetter]:
    found = [parse_dead_letter(kept) for kept in topic.letters_of(0)]
    assert all(isinstance(letter, DeadLetter) for letter in found)
    return found  # type: ignore[return-value]  # just checked


def headers_of(letter: DeadLetter) -> dict[str, str]:
    return {name: (value or b"").decode() for name, value in letter.record.headers}


@pytest.mark.parametrize("failed", [metric("mem"), failed_event("mem", offset=7)], ids=["metric", "event"])
async def test_one_expression_renames_a_metric_in_dead_letters_of_both_kinds(failed: Failed) -> None:
    store, topic = await edit_one(failed, RENAME)
    (row,) = store.table
    assert (row.metric_type, row.metric_value, row.source_offset, row.recorded_at) == ("memory_mb", 1, 7, JANUARY_2026)
    assert await count_open(topic) == 0


async def test_fields_that_the_expression_does_not_name_stay() -> None:
    failed = metric("mem", user_id="u", labels={"model": "x"}, status="failed", completed_at="2026-01-01T03:04:05.678Z")
    (edited,) = (await edit_one(failed, ".metrics.mem = 3"))[0].table
    store = MemoryStore()
    await replay(await topic_of(failed), store)
    assert [edited._replace(metric_value=1.0)] == store.table


async def test_event_inside_a_structured_cloudevent_is_edited() -> None:
    headers = (("content-type", b"application/cloudevents+json"),)
    document = {"specversion": "1.0", "id": "1", "data": event(metrics={"mem": 1}, agent_name="")}
    store, _ = await edit_one(FailedEvent(record(document, headers=headers), UNKNOWN_VERSION), '.data.agent_name = "a"')
    assert [(row.agent_name, row.metric_type) for row in store.table] == [("a", "mem")]
    of_metric = metric("mem")
    source = of_metric.record._replace(headers=headers)  # type: ignore[attr-defined]
    failed = of_metric._replace(event=of_metric.event._replace(record=source))
    store, _ = await edit_one(failed, '.agent_name = "b"')
    assert [(row.agent_name, row.metric_type) for row in store.table] == [("b", "mem")], "it has the event alone"


async def test_edited_row_replaces_the_one_that_the_table_has_of_its_record() -> None:
    failed, store = metric("mem"), MemoryStore()
    await replay(await topic_of(failed), store)
    await edit(await topic_of(failed), ".metrics.mem = 5", store)
    assert [row.metric_value for row in store.deduplicated().values()] == [5.0]


# What fails again


@pytest.mark.parametrize("expression", [".metrics.mem = -5", RENAME])
async def test_metric_that_fails_again_has_a_dead_letter_with_its_history(expression: str) -> None:
    store, topic = await edit_one(metric("mem"), expression, refuses=lambda _: True)
    original, again = letters(topic)
    digest = sha256(original.record.value or b"").hexdigest()
    assert again.edit == Edit(BY, expression, original.position, digest)
    assert (again.replaces, again.replays, again.source) == (original.position, 1, original.source)
    assert again.metric in (json.loads(again.record.value or b"")["metric_type"], "memory_mb")
    assert (store.table, await count_open(topic)) == ([], 1)


async def test_event_that_fails_again_has_the_edited_event_and_names_the_original() -> None:
    source = record(event(metrics={"a": 1}, agent_name=""), offset=7)
    topic = await topic_of(FailedEvent(source, UNKNOWN_VERSION))
    for number in range(2):
        await edit(topic, f".started_at = {number}")
    original, first, second = letters(topic)
    assert json.loads(second.record.value or b"")["started_at"] == 1
    assert (second.replaces, second.replays, second.failure.error_type) == (first.position, 2, "InvalidField")
    assert second.edit == Edit(BY, ".started_at = 1", original.position, sha256(source.value or b"").hexdigest())
    assert original.record.value == source.value, "`dlq show` has it"
    await edit(topic, '.agent_name = "a"')
    assert await count_open(topic) == 0


async def test_edit_stays_known_after_a_replay_that_fails_again() -> None:
    store, topic = await edit_one(metric("mem"), RENAME, refuses=lambda _: True)
    await replay(topic, store)
    _, edited, replayed = letters(topic)
    assert replayed.edit == edited.edit
    assert (edited.replaced_metric, replayed.replaced_metric) == ("mem", None)
    assert (headers_of(replayed)["dlq.edit.expression"], await count_open(topic)) == (RENAME, 1)


async def test_metric_of_an_edited_event_is_a_part_of_it() -> None:
    failed = failed_event("a", "b")
    _, topic = await edit_one(failed, ".metrics.a = -1", refuses=lambda row: row.value < 0)
    original, part = letters(topic)
    assert (part.metric, part.part_of, part.replaces) == ("a", original.position, None)
    assert part.edit is not None
    assert part.edit.original_sha256 == sha256(failed.record.value or b"").hexdigest()


async def test_renamed_metric_replaces_its_dead_letter_if_the_settlement_was_not_written() -> None:
    _, topic = await edit_one(metric("mem"), RENAME, refuses=lambda _: True)
    topic.records[0] = topic.letters_of(0)
    assert len(topic.records[0]) == 2
    assert await count_open(topic) == 1


async def test_edited_event_that_does_not_fit_the_topic_leaves_the_original_to_be_restored() -> None:
    source = record(event(metrics={"a": 1}, agent_name=""), offset=7)
    topic, sources = MemoryTopic(), MemorySources([source])
    topic.too_large = lambda _: True
    await topic.write([FailedEvent(source, UNKNOWN_VERSION)])
    await edit(topic, ".user_id = 1", sources=sources)
    pointer, again = letters(topic)
    assert (again.is_pointer, again.replaces, again.edit and again.edit.original) == (True, None, pointer.position)
    assert again.edit is not None
    assert again.edit.original_sha256 == sha256(source.value or b"").hexdigest()
    result = await edit(topic, '.agent_name = "a"', sources=sources)
    assert [reason for _, reason in result.unreplayable] == [
        f"the edited event did not fit the topic: restore {pointer.position}, the original"
    ]


async def test_pointer_is_edited_from_its_source_record() -> None:
    source = record(event(metrics={"a": 1, "mem": 2}), offset=5)
    of_metric = FailedMetric(read(event(metrics={}))._replace(record=source), "mem", 2, REFUSED, 1)
    for failed, expected in ((of_metric, ["memory_mb"]), (FailedEvent(source, UNKNOWN_VERSION), ["a", "memory_mb"])):
        topic, store = MemoryTopic(), MemoryStore()
        topic.too_large = lambda _: True
        await topic.write([failed])
        await edit(topic, RENAME, store, MemorySources([source]))
        assert [row.metric_type for row in store.table] == expected


# Numbers that jq does not have


async def test_numbers_that_no_float64_holds_stay_what_they_are() -> None:
    source = Record(encoded(event(metrics={"nan": float("nan"), "x": 2**53 + 1}, agent_name="")), offset=7)
    store, topic = await edit_one(FailedEvent(source, UNKNOWN_VERSION), '.agent_name = "NaN"')
    assert [(row.metric_type, row.agent_name) for row in store.table] == [("x", "NaN")]
    (letter,) = letters(topic)[1:]
    assert (letter.metric, json.loads(letter.record.value or b"")["metric_value"]) == ("nan", "NaN")


async def test_number_that_no_float64_holds_can_be_replaced() -> None:
    store, _ = await edit_one(
        metric("m", UnrepresentableNumber("1e400")), '.metrics[] |= if . == "1e400" then 0 else . end'
    )
    assert [row.metric_value for row in store.table] == [0.0]


# What stays open


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        (".", "the expression changes nothing"),
        ("empty", "the expression yields nothing"),
        (".metrics = {}", "the edited event has 0 metrics"),
        (".metrics.b = 1", "the edited event has 2 metrics"),
        ('.metrics.mem = "1"', "the edited metric 'mem' is no number"),
        ('.agent_name = ""', "the worker refuses the edited event, InvalidField: agent_name"),
        (".labels.model = 1", "the edited label 'model' is none: not_a_string"),
    ],
)
async def test_metric_whose_edit_makes_no_metric_stays_open(expression: str, reason: str) -> None:
    (found,) = await reasons_of(metric("mem"), expression)
    assert found.startswith(reason)


async def test_event_that_is_no_json_stays_open() -> None:
    for value in (b"\xff garbage", b"{", b""):
        (reason,) = await reasons_of(FailedEvent(Record(value), UNKNOWN_VERSION), ".a = 1")
        assert reason.startswith("it cannot be edited: ")


async def test_dead_letters_that_the_expression_does_not_fit_stay_open_beside_the_others() -> None:
    topic, store = await topic_of(metric("mem"), metric("cpu"), metric("mem")), MemoryStore()
    result = await edit(topic, RENAME, store)
    assert (len(store.table), result.written.total(), await count_open(topic)) == (2, 2, 1)
    assert {reason: count for (_, reason), count in result.unreplayable.items()} == {
        "the expression changes nothing": 1
    }


async def test_many_reasons_are_counted_together() -> None:
    topic = await topic_of(*(metric(f"m{number}") for number in range(200)))
    result = await edit(topic, ".metrics | keys[0] | error")
    assert (result.unreplayable.total(), len(result.unreplayable)) == (200, 101)


async def test_journal_has_the_expression() -> None:
    _, topic = await edit_one(metric("mem"), RENAME)
    journal = [parse_settlement(kept) for kept in topic.records[0] if is_settlement(kept)]
    assert [(entry.action, entry.edit, entry.by) for entry in journal] == [(Action.EDITED, RENAME, BY)] * 3
