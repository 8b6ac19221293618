"""From a dead letter to what can be replayed, wherever its contents are."""

from hashlib import sha256

from worker.core.errors import InvalidEvent, WorkerError
from worker.core.model import Event, FailedMetric, Record, Unrepresentable
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.value import Pointer, encode_value, parse_metric_event, parse_pointer, to_replayed_record
from worker.events.decode import decode
from worker.events.fan_out import FanOut
from worker.ports import SourceRecordFetcher


class NotAtSource(WorkerError):
    """The source record is gone, or is not what the pointer's digest says."""


def fan_out_contents(letter: DeadLetter, fanned: FanOut) -> int:
    """Fan out a letter whose contents are in it: a metric as one row, an event as the worker of today reads it.

    Returns about how many bytes were added.

    Raises:
        DamagedLetter: the letter cannot be read.
    """
    if letter.kind == "metric":
        fanned.add_event(parse_metric_event(letter))
    else:
        fanned.add_record(to_replayed_record(letter, letter.record.value))
    return len(letter.record.value or b"")


async def fan_out_source_record(letter: DeadLetter, fanned: FanOut, sources: SourceRecordFetcher) -> int:
    """Fan out a letter whose contents are at its source.

    Returns about how many bytes were added.

    Raises:
        DamagedLetter: the letter cannot be read.
        NotAtSource: its contents are there no more.
        DependencyError: Kafka does not answer.
    """
    pointer = parse_pointer(letter) if letter.is_pointer else None
    found = await sources.fetch(*letter.source)
    if found is None:
        raise NotAtSource("the source record is gone, or cannot be read")
    if letter.kind == "metric" and pointer is not None:
        fanned.add_event(_metric_with(pointer, letter, found))
        return pointer.size
    # What the client could not parse has no digest. Whatever stands there is an event of that place, and to write its
    # rows once more changes nothing.
    if pointer is not None and sha256(found.value or b"").hexdigest() != pointer.sha256:
        raise NotAtSource("another record stands in the place of the source record")
    fanned.add_record(to_replayed_record(letter, found.value, found))
    return len(found.value or b"")


def _metric_with(pointer: Pointer, letter: DeadLetter, found: Record) -> Event:
    """The event with the one metric whose dead letter would have the pointer's digest."""
    try:
        event = decode(to_replayed_record(letter, found.value, found))
    except InvalidEvent as error:
        raise NotAtSource(f"the source record is no event: {error}") from error
    for name, value in event.metrics.items() if event else ():
        if isinstance(value, int | float | Unrepresentable):
            failed = FailedMetric(event, name, value, letter.failure, 0)  # type: ignore[arg-type]  # not None here
            if sha256(encode_value(failed)).hexdigest() == pointer.sha256:
                return failed.event._replace(metrics={name: value}, record=to_replayed_record(letter, None, found))
    raise NotAtSource("another record stands in the place of the source record")
