"""Decoding and fan-out against the independent reference, without servers: many records, cheaply."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read_event
from tests.fuzz.generate import make_record
from tests.support.events import Record
from tests.support.readings import comparable, read_with_worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.fuzz.fuzz_record import FuzzRecord

Reader = Callable[[Record], Reading]
_SHOWN = 400


class Disagreement(NamedTuple):
    """A record of which the worker and the contract say different things."""

    number: int
    record: FuzzRecord
    problem: str


def disagreement(number: int, record: FuzzRecord, reader: Reader = read_with_worker) -> Disagreement | None:
    """Compare what `reader` makes of one record with what the contract says; None where both agree."""
    if record.value is None or record.unreadable:
        return None  # neither is decoded
    source = Record(record.value, timestamp=record.timestamp, key=record.key, headers=record.headers)
    right = comparable(read_event(record.value, record.headers, record.timestamp, {}))
    try:
        found = comparable(reader(source))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        return Disagreement(number, record, f"raised {type(error).__name__}: {error}"[:_SHOWN])
    return None if found == right else Disagreement(number, record, difference(found, right))


def difference(found: Reading, right: Reading) -> str:
    """Where two readings differ, in words."""
    for name in ("owner", "user", "completed_at", "recorded_at", "skipped"):
        one, other = getattr(found, name), getattr(right, name)
        if one != other:
            return f"{name} is {one!a}, owed was {other!a}"[:_SHOWN]
    for name in ("rows", "refused"):
        one, other = getattr(found, name), getattr(right, name)
        for metric in one.keys() | other.keys():
            if one.get(metric) != other.get(metric):
                text = f"{name}[{ascii(metric)[:80]}] is {one.get(metric)}, owed was {other.get(metric)}"
                return text[:_SHOWN]
    return "they differ"


def disagreements(
    seed: int,
    numbers: Sequence[int],
    until: float,
    on_progress: Callable[[int], None],
    reader: Reader = read_with_worker,
) -> Iterator[Disagreement]:
    """Every record among `numbers` on which `reader` and the contract disagree.

    Args:
        seed: of the records.
        numbers: of the records; all of them are looked at unless the time is up.
        until: when to stop, as `time.monotonic` tells it.
        told: hears how many have been looked at.
        reader: what is compared with the contract.
    """
    for done, number in enumerate(numbers):
        if done % 1_000 == 0:
            on_progress(done)
            if monotonic() > until:
                return
        found = disagreement(number, make_record(seed, number), reader)
        if found is not None:
            yield found
    on_progress(len(numbers))
