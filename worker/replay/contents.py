"""From a dead letter to rows: the contents are in the dead letter or in its source record."""

import asyncio
from hashlib import sha256
from itertools import combinations

from worker.core.errors import InvalidEvent, WorkerError
from worker.core.model import Event, FailedMetric, Record, ReplayedRecord, UnrepresentableNumber
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.headers import format_metric_header
from worker.dead_letters.value import InvalidDeadLetter, Pointer, encode_value, parse_metric_event, parse_pointer
from worker.events.cloudevents import LABEL_ATTRIBUTES
from worker.events.decode import EventPolicy, decode
from worker.events.fan_out import FanOut
from worker.ports import SourceRecordFetcher

# The metric has a dead letter, so its event was accepted, at any age, by a worker that may have had another policy.
_POSSIBLE_LABELS = [labels for count in range(3) for labels in combinations(LABEL_ATTRIBUTES, count)]


class SourceRecordMissing(WorkerError):
    """The source record is gone, or does not match the digest of the pointer."""


class RefusedAgain(WorkerError):
    """Everything in a dead letter is refused by today's rules."""


def fan_out_contents(letter: DeadLetter, fan_out: FanOut) -> int:
    """Fan out a dead letter that contains its metric or event; an event is decoded by today's rules.

    Returns the approximate number of bytes added. Raises InvalidDeadLetter if the value is missing or cannot be parsed.
    """
    if letter.kind == "metric":
        fan_out.add_event(parse_metric_event(letter, to_replayed_record(letter, None)))
    else:
        _add(_read_contents(letter), fan_out)
    return len(letter.record.value or b"")


async def fan_out_source_record(letter: DeadLetter, fan_out: FanOut, sources: SourceRecordFetcher) -> int:
    """Fetch the source record of a dead letter and fan it out.

    Returns the approximate number of bytes added. Raises as `load_contents` does.
    """
    contents = await load_contents(letter, sources)
    _add(contents, fan_out)
    return parse_pointer(letter).size if isinstance(contents, Event) else len(contents.value or b"")


def take_back_refused(fan_out: FanOut, rows: int, failures: int) -> None:
    """Remove the failures that were added since `fan_out` had so many rows and failures, if no row was.

    Raises RefusedAgain if it has removed them.
    """
    if fan_out.rows == rows:
        rule = fan_out.failed[failures].failure.error_type
        del fan_out.failed[failures:]
        raise RefusedAgain(f"refused again, left alone (--refused): {rule}")


async def load_contents(letter: DeadLetter, sources: SourceRecordFetcher) -> Event | ReplayedRecord:
    """The event with the failed metric only, or the record of the whole event.

    Raises:
        InvalidDeadLetter: the value is missing, or cannot be parsed.
        SourceRecordMissing: the source record is needed, and is gone, or is another one.
        DependencyError: Kafka does not answer.
    """
    if not letter.needs_source_record:
        return _read_contents(letter)
    if letter.stands_for_batch:
        raise SourceRecordMissing("it stands for a whole record batch: read its offsets by hand, as the RUNBOOK says")
    if letter.edit is not None:
        raise SourceRecordMissing(
            f"the edited event did not fit the topic: restore {letter.edit.original}, the original"
        )
    pointer = parse_pointer(letter) if letter.is_pointer else None
    found = await sources.fetch(*letter.source)
    if found is None:
        raise SourceRecordMissing("the source record is gone, or cannot be read")
    if letter.kind == "metric" and pointer is not None:
        # In a thread, because the event can be large.
        return await asyncio.to_thread(_find_metric, pointer, letter, found)
    # A record that the client could not parse has no digest. What is at its offset is an event of that offset, and
    # repeated writes change nothing.
    if pointer is not None and sha256(found.value or b"").hexdigest() != pointer.sha256:
        raise SourceRecordMissing("another record is at the offset of the source record")
    return to_replayed_record(letter, found.value, found)


def _read_contents(letter: DeadLetter) -> Event | ReplayedRecord:
    """The contents of a dead letter that has them. Raises InvalidDeadLetter as `load_contents` does."""
    if letter.kind == "metric":
        return parse_metric_event(letter, to_replayed_record(letter, None))
    if letter.record.value is None:
        raise InvalidDeadLetter("it has no value")
    return to_replayed_record(letter, letter.record.value)


def _add(contents: Event | ReplayedRecord, fan_out: FanOut) -> None:
    if isinstance(contents, Event):
        fan_out.add_event(contents)
    else:
        fan_out.add_record(contents)


def _find_metric(pointer: Pointer, letter: DeadLetter, found: Record) -> Event:
    """The event with only the metric whose dead letter has the digest of the pointer."""
    source = to_replayed_record(letter, found.value, found)
    for labels in _POSSIBLE_LABELS:
        try:
            event = decode(source, EventPolicy(max_age_days=0, cloudevent_labels=labels))
        except InvalidEvent as error:
            raise SourceRecordMissing(f"the source record is not an event: {error}") from error
        for name, value in event.metrics.items() if event else ():
            # The names first: to encode each of a thousand long ones would take seconds.
            if isinstance(value, int | float | UnrepresentableNumber) and format_metric_header(name) == letter.metric:
                failed = FailedMetric(event, name, value, letter.failure, 0)  # type: ignore[arg-type]  # not None here
                if sha256(encode_value(failed)).hexdigest() == pointer.sha256:
                    return failed.event._replace(metrics={name: value}, record=to_replayed_record(letter, None, found))
    raise SourceRecordMissing("another record is at the offset of the source record")


def to_replayed_record(letter: DeadLetter, value: bytes | None, found: Record | None = None) -> ReplayedRecord:
    """Rebuild the source record of `letter`, to be processed again; `value` is None for a single metric.

    `found` is the source record if it was fetched; it has the key and headers that a pointer leaves out.
    """
    replayed = ReplayedRecord(
        *letter.source,
        letter.source_timestamp,
        letter.record.key,
        value,
        letter.source_headers,
        letter.replays + 1,
        letter.attempts,
        letter.position,
        letter.kind == "event",
        letter.part_of,
        letter.edit,
    )
    if found is None:
        return replayed
    return replayed._replace(timestamp=found.timestamp, key=found.key, headers=found.headers)
