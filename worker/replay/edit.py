"""Edits the event of a dead letter before it is replayed.

The expression is applied to the event as its producer sent it: to the value of the source record. Where the dead letter
is of one metric, the event is made again from it, with this one metric. So one expression serves both.

Position, timestamp, key and headers of the source record stay. So the edited row has the version of the original one
and replaces it, if ClickHouse has that with the same execution, agent, day and metric; and a newer event still wins.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple, cast

import orjson

from worker.core.errors import InvalidEvent
from worker.core.model import Edit, Event, ReplayedRecord, UnrepresentableNumber
from worker.core.times import format_rfc3339
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.headers import format_metric_header
from worker.dead_letters.value import parse_pointer
from worker.events.decode import EventPolicy, decode
from worker.events.fan_out import FanOut
from worker.events.parsing_cost import check_parsing_cost
from worker.events.tolerant_json import parse_tolerantly
from worker.ports import SourceRecordFetcher
from worker.replay.contents import load_contents
from worker.replay.event_editor import EditFailed, EventEditor

_ANY_AGE = EventPolicy(max_age_days=0)
"""The event of a metric was accepted before, by a worker that may have had another policy."""


class EditedEvent(NamedTuple):
    """The JSON of an event before and after the edit."""

    before: bytes
    after: bytes


async def fan_out_edited(
    letter: DeadLetter, fan_out: FanOut, sources: SourceRecordFetcher, editor: EventEditor
) -> EditedEvent:
    """Edit the event of a dead letter, and fan it out.

    Raises:
        EditFailed: the edited event cannot take the place of the original one.
        InvalidDeadLetter, SourceRecordMissing, DependencyError: see `fan_out_contents` and `fan_out_source_record`.
    """
    contents = await load_contents(letter, sources)
    before, literals = _encode(contents)
    after = await editor.edit(before)
    if literals:
        after = _restore(after, literals)
    edit = _describe_edit(letter, contents, editor)
    if isinstance(contents, Event):
        fan_out.add_event(_decode_metric(contents, after, edit))
    else:
        fan_out.add_record(contents._replace(value=after, edit=edit))
    return EditedEvent(before, after)


def _describe_edit(letter: DeadLetter, contents: Event | ReplayedRecord, editor: EventEditor) -> Edit:
    if letter.edit is not None:
        return letter.edit._replace(by=editor.by, expression=editor.expression)
    if letter.is_pointer:
        digest = parse_pointer(letter).sha256
    else:
        value = letter.record.value if isinstance(contents, Event) else contents.value
        digest = sha256(value or b"").hexdigest()
    return Edit(editor.by, editor.expression, letter.position, digest)


def _encode(contents: Event | ReplayedRecord) -> tuple[bytes, frozenset[str]]:
    """The event as JSON, and the numbers in it that no Float64 holds: texts such as "NaN", or jq would change them."""
    if not isinstance(contents, Event):
        return _encode_value(contents.value or b"")
    fields = {
        "execution_id": contents.execution_id,
        "agent_name": contents.agent_name,
        "user_id": contents.user_id,
        "labels": dict(contents.labels),
        "completed_at": format_rfc3339(contents.completed_at),
        "metrics": contents.metrics,
    }
    return _hide_numbers(fields)


def _encode_value(value: bytes) -> tuple[bytes, frozenset[str]]:
    try:
        check_parsing_cost(value)
        orjson.loads(value)
    except orjson.JSONDecodeError as refusal:
        try:
            return _hide_numbers(parse_tolerantly(value, refusal))
        except InvalidEvent as error:
            raise EditFailed(f"it cannot be edited: {error}") from error
    except InvalidEvent as error:
        raise EditFailed(f"it cannot be edited: {error}") from error
    return value, frozenset()


def _hide_numbers(document: object) -> tuple[bytes, frozenset[str]]:
    literals: set[str] = set()

    def encode(number: UnrepresentableNumber) -> str:
        literals.add(number.literal)
        return number.literal

    return _dump(document, encode), frozenset(literals)


def _restore(after: bytes, literals: frozenset[str]) -> bytes:
    """Write the numbers that jq has read as texts as numbers again, where they are metrics."""
    document: Any = orjson.loads(after)
    for event in (document, document.get("data")):  # of a structured CloudEvent
        metrics: Any = event.get("metrics") if isinstance(event, dict) else None
        if isinstance(metrics, dict):
            numbers = {name for name, text in metrics.items() if isinstance(text, str) and text in literals}
            metrics |= {name: orjson.Fragment(metrics[name]) for name in numbers}
    return _dump(document)


def _decode_metric(original: Event, after: bytes, edit: Edit) -> Event:
    """The event of one metric: as before, but for what was edited. Raises EditFailed if it is not one number."""
    record = cast("ReplayedRecord", original.record)
    try:
        # Without headers: with those of a CloudEvent the decoder would look for the event inside.
        event = cast("Event", decode(record._replace(value=after, headers=()), _ANY_AGE))  # it has a value
    except InvalidEvent as error:
        raise EditFailed(f"the worker refuses the edited event, {error.reason}: {error}") from error
    if event.skipped_labels:
        name, reason = event.skipped_labels[0]
        raise EditFailed(f"the edited label {name!a} is none: {reason}")
    if len(event.metrics) != 1:
        raise EditFailed(f"the edited event has {len(event.metrics)} metrics, not one as the dead letter")
    ((name, value),) = event.metrics.items()
    if not isinstance(value, int | float | UnrepresentableNumber):
        raise EditFailed(f"the edited metric {name[:80]!a} is no number")
    (original_name,) = original.metrics
    renamed = None if name == original_name else format_metric_header(original_name)
    return event._replace(record=record._replace(edit=edit, replaced_metric=renamed))


def _dump(document: object, default: Callable[[Any], str] | None = None) -> bytes:
    try:
        return orjson.dumps(document, default)
    except orjson.JSONEncodeError as error:
        raise EditFailed(f"it cannot be edited: {error}") from error
