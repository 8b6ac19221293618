"""Decoding and fan-out against the independent reference, without servers: many records, cheaply."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from deploy.local.demo.reference import Reading, read
from tests.fuzz.generate import make
from tests.support.events import Record
from tests.support.readings import as_the_worker_reads, comparable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.fuzz.record import Fuzzed

Reader = Callable[[Record], Reading]
_SHOWN = 400


class Disagreement(NamedTuple):
    """A record of which the worker and the contract say different things."""

    number: int
    record: Fuzzed
    problem: str


def disagreement(number: int, record: Fuzzed, reader: Reader = as_the_worker_reads) -> Disagreement | None:
    """Compare what `reader` makes of one record with what the contract says; None where both agree."""
    if record.value is None or record.unreadable:
        return None  # neither is decoded
    source = Record(record.value, timestamp=record.timestamp, key=record.key, headers=record.headers)
    right = comparable(read(record.value, record.headers, record.timestamp, {}))
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
    seed: int, numbers: Sequence[int], until: float, told: Callable[[int], None], reader: Reader = as_the_worker_reads
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
            told(done)
            if monotonic() > until:
                return
        found = disagreement(number, make(seed, number), reader)
        if found is not None:
            yield found
    told(len(numbers))
