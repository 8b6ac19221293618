"""Decode and fan out records in this process, without servers, and compare the result with the reference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from time import monotonic
from typing import NamedTuple

from deploy.local.demo.reference import Reading, read_event
from tests.fuzz.fuzz_record import FuzzRecord
from tests.fuzz.generate import is_one_of_many_large, make_record
from tests.support.events import Record
from tests.support.readings import LABEL_ATTRIBUTES, comparable, read_with_worker

Reader = Callable[[Record], Reading]
_MAX_CHARACTERS = 400


class Disagreement(NamedTuple):
    """A record that worker and reference read differently."""

    number: int
    record: FuzzRecord
    problem: str


def find_disagreements(
    seed: int,
    numbers: Sequence[int],
    until: float,
    on_progress: Callable[[int], None],
    reader: Reader = read_with_worker,
) -> Iterator[Disagreement]:
    """Every record among `numbers` on which `reader` and the reference disagree; many large ones are left out.

    No more records are read after `until` (`time.monotonic`). `on_progress` is called with how many were read.
    """
    for done, number in enumerate(numbers):
        if done % 1_000 == 0:
            on_progress(done)
            if monotonic() > until:
                return
        if is_one_of_many_large(number):
            continue
        found = find_disagreement(number, make_record(seed, number), reader)
        if found is not None:
            yield found
    on_progress(len(numbers))


def find_disagreement(number: int, record: FuzzRecord, reader: Reader = read_with_worker) -> Disagreement | None:
    """Compare the reading of `reader` with the reference; None if both agree."""
    if record.value is None or record.unreadable:
        return None  # neither is decoded
    source = Record(record.value, timestamp=record.timestamp, key=record.key, headers=record.headers)
    right = comparable(read_event(record.value, record.headers, record.timestamp, {}, LABEL_ATTRIBUTES))
    try:
        found = comparable(reader(source))
    except Exception as error:  # noqa: BLE001 - no error of any type is allowed
        return Disagreement(number, record, f"raised {type(error).__name__}: {error}"[:_MAX_CHARACTERS])
    differing = [field.name for field in fields(right) if getattr(found, field.name) != getattr(right, field.name)]
    if not differing:
        return None
    one, other = getattr(found, differing[0]), getattr(right, differing[0])
    if isinstance(other, dict):
        keys = [key for key in one.keys() | other.keys() if one.get(key) != other.get(key)]
        one, other = ({key: side.get(key) for key in keys} for side in (one, other))
    return Disagreement(number, record, f"{differing[0]} is {one!a}, expected {other!a}"[:_MAX_CHARACTERS])
