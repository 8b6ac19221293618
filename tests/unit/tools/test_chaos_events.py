"""The events of the chaos runs: the seed determines them, and each kind has the share that was asked for."""

from itertools import islice
from random import Random

import pytest

from deploy.local.demo.careless import Message
from deploy.local.demo.reference import read_event
from tests.chaos.events import METRICS, REFUSED_METRIC, VALID_ONLY, EventMix, generate_messages

COUNT = 4_000


def first_messages(seed: int, mix: EventMix) -> list[Message]:
    return list(islice(generate_messages(Random(seed), mix), COUNT))


def test_a_seed_gives_the_same_events_again_and_another_seed_gives_others() -> None:
    mix = EventMix(careless=0.1, refused=0.1)

    assert first_messages(1, mix) == first_messages(1, mix)
    others = {message.key for message in first_messages(2, mix)}
    assert not {message.key for message in first_messages(1, mix)} & others - {None}


@pytest.mark.parametrize(
    ("mix", "share"),
    [
        (VALID_ONLY, 0.0),
        (EventMix(careless=0.0, refused=0.001 * len(METRICS)), 0.001),
        (EventMix(careless=0.0, refused=1.0, metrics=(REFUSED_METRIC,)), 1.0),
    ],
)
def test_the_table_refuses_the_given_share_of_rows_and_no_other(mix: EventMix, share: float) -> None:
    readings = [read_event(message.value or b"", message.headers, 0) for message in first_messages(1, mix)]

    refused = [name for reading in readings for name in reading.refused]
    assert set(refused) <= {REFUSED_METRIC}
    assert {reading.metrics for reading in readings} == {len(mix.metrics)}
    assert len(refused) / (COUNT * len(mix.metrics)) == pytest.approx(share, rel=0.5)
