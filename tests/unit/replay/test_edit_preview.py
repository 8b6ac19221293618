"""What a preview says of each dead letter that an expression would edit."""

import json
from collections.abc import Mapping

from tests.support.events import event, record
from tests.support.fakes import UNAVAILABLE, MemoryConstraints, MemorySources, MemoryTopic, RowRule
from tests.unit.replay.harness import UNKNOWN_VERSION, count_open, failed_event, failed_metric, topic_of
from worker.commands.edit_report import summarize_edits
from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition, FailedEvent
from worker.replay.edit_preview import EditPreview
from worker.replay.event_editor import EventEditor
from worker.replay.plan import ReplayPolicy
from worker.replay.report import describe_edits
from worker.replay.scan import DeadLetterScan

NOT_NEGATIVE: Mapping[str, RowRule] = {"metric_value >= 0": lambda row: row.value >= 0}


async def preview(
    topic: MemoryTopic,
    expression: str,
    policy: ReplayPolicy | None = None,
    *,
    sources: MemorySources | None = None,
    constraints: MemoryConstraints | None = None,
) -> EditPreview:
    editor, scan = EventEditor(expression, "operator@host"), await DeadLetterScan.begin(topic)
    try:
        return await EditPreview(
            policy or ReplayPolicy(), editor, sources or MemorySources(), constraints or MemoryConstraints({})
        ).read(scan)
    finally:
        editor.close()


async def test_each_dead_letter_is_judged_by_edit_decoder_and_constraints() -> None:
    topic = await topic_of(
        failed_event("a", "b"),
        failed_metric("c"),
        FailedEvent(record(event(metrics={"a": 1}, agent_name="")), UNKNOWN_VERSION),
        FailedEvent(record(b"\xff garbage"), UNKNOWN_VERSION),
    )
    expression = ".metrics |= map_values(-.)"
    found = await preview(topic, expression, ReplayPolicy(max_metrics=2), constraints=MemoryConstraints(NOT_NEGATIVE))
    selection = found.selection
    assert (selection.chosen.total(), selection.accepted.total()) == (4, 0)
    reasons = {(kind.value, reason.partition(":")[0]): count for (kind, reason), count in selection.refused.items()}
    assert reasons == {
        ("invalid_event", "violates the constraint metric_value >= 0"): 1,
        ("store_unavailable", "violates the constraint metric_value >= 0"): 1,
        ("invalid_event", "InvalidField"): 1,
        ("invalid_event", "it cannot be edited"): 1,
    }
    examples = describe_edits(found)["examples"]
    assert {reason.partition(":")[0]: place for reason, place in examples.items()} == {
        "violates the constraint metric_value >= 0": "0:0",
        "InvalidField": "0:2",
        "it cannot be edited": "0:3",
    }
    assert (await count_open(topic), len(topic.records[0])) == (4, 4), "nothing is written"


async def test_sample_has_the_first_three_events_before_and_after() -> None:
    topic = await topic_of(*(failed_metric(f"m{number}") for number in range(6)))
    found = await preview(
        topic, 'if .metrics.m0 then empty else .user_id = "x" end', ReplayPolicy(max_metrics=2, limit=4)
    )
    assert [sample.position for sample in found.samples] == [DeadLetterPosition(0, offset) for offset in (1, 2, 3)]
    before, after = (json.loads(text) for text in found.samples[0].edited)
    assert (before["user_id"], after["user_id"], after["metrics"]) == ("u-1", "x", {"m1": 1})
    assert (found.selection.accepted.total(), found.selection.beyond_limit.total()) == (4, 1)
    lines = list(summarize_edits(describe_edits(found)))
    assert len(lines) == 8
    assert lines[-2] == "for example 0:0: the expression yields nothing, not one object"


async def test_events_that_only_the_source_topic_has_are_edited_too() -> None:
    source = record(event(metrics={"a": 1}), offset=5)
    topic = MemoryTopic()
    topic.too_large = lambda _: True
    await topic.write([FailedEvent(source, UNKNOWN_VERSION)])
    found = await preview(topic, ".user_id = 1", sources=MemorySources([source]))
    assert found.selection.accepted == {ErrorClass.TOO_LARGE: 1}


async def test_constraints_that_cannot_be_asked_are_named_and_asked_once() -> None:
    topic, constraints = await topic_of(*(failed_metric(f"m{number}") for number in range(5))), MemoryConstraints({})
    constraints.down = UNAVAILABLE
    found = await preview(topic, ".user_id = 1", ReplayPolicy(max_metrics=2), constraints=constraints)
    assert (found.unchecked, constraints.asked, found.selection.accepted.total()) == (str(UNAVAILABLE), 1, 5)
    assert "connection refused" in [*summarize_edits(describe_edits(found))][-1]


async def test_report_has_no_control_sequence_of_a_terminal() -> None:
    topic = await topic_of(failed_metric("m"))
    found = await preview(topic, '.user_id = "\\u001b[31m"')
    assert all(line.isprintable() for line in summarize_edits(describe_edits(found)))


async def test_metrics_that_the_edit_makes_to_no_numbers_are_counted() -> None:
    """Nothing refuses them: without their number an event of which nothing is left would count as written."""
    topic = await topic_of(failed_event("a", "b", "c"), failed_event("d"))
    found = await preview(topic, 'if .metrics.a then .metrics.a = "1" | .metrics.b = null else .user_id = "x" end')
    assert (found.selection.accepted.total(), found.rows, found.skipped) == (2, 2, {"string": 1, "null": 1})
    report = describe_edits(found)
    assert (report["rows"], report["skipped"]) == (2, {"string": 1, "null": 1})
    assert "the edited events have 2 rows; skipped, no numbers: 1 string, 1 null" in [*summarize_edits(report)]
