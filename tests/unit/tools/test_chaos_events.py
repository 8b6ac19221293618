"""The events of the chaos runs: all of them follow from the seed, and their shares are as they are asked for."""

import json
from itertools import islice
from random import Random

import pytest

from deploy.local.demo.careless import Message
from deploy.local.demo.reference import read
from tests.chaos.events import METRICS, REFUSED_METRIC, VALID_ONLY, EventMix, generate_messages

COUNT = 4_000


def some(seed: int, mix: EventMix) -> list[Message]:
    return list(islice(generate_messages(Random(seed), mix), COUNT))


def test_a_seed_gives_the_same_events_and_another_seed_gives_others() -> None:
    mix = EventMix(careless=0.1, poison=0.1)

    assert some(1, mix) == some(1, mix)
    assert not {message.key for message in some(1, mix)} & {message.key for message in some(2, mix)} - {None}


def test_of_plain_events_every_metric_is_a_row() -> None:
    readings = [read(message.value or b"", message.headers, 0) for message in some(1, VALID_ONLY)]

    assert {len(reading.rows) for reading in readings} == {len(METRICS)}
    assert len({reading.owner for reading in readings}) == COUNT
    assert len({json.loads(message.value or b"")["completed_at"][:7] for message in some(1, VALID_ONLY)}) == 2


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_so_many_rows_are_refused(share: float) -> None:
    poisoned = EventMix(careless=0.0, poison=share * len(METRICS))
    readings = [read(message.value or b"", message.headers, 0) for message in some(1, poisoned)]

    refused = [name for reading in readings for name in reading.refused]
    assert set(refused) == {REFUSED_METRIC}
    assert len(refused) / (COUNT * len(METRICS)) == pytest.approx(share, rel=0.5)


def test_all_rows_can_be_refused() -> None:
    poisoned = EventMix(careless=0.0, poison=1.0, metrics=(REFUSED_METRIC,))

    for message in some(1, poisoned):
        reading = read(message.value or b"", message.headers, 0)
        assert (reading.rows, list(reading.refused)) == ({}, [REFUSED_METRIC])
