"""Rows that the table refuses, among those that it takes; nothing is broken but they."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.scenario import Scenario
from tests.chaos.stream import METRICS, POISONED, Mix

if TYPE_CHECKING:
    from tests.chaos.field import Field


def swallow(field: Field) -> None:
    """Let one worker take all of it."""
    field.load.send_rest()
    field.crew.start()


def _mix(share_of_rows: float) -> Mix:
    """Each event has one metric that can be refused."""
    if share_of_rows == 1:
        return Mix(careless=0.0, poison=1.0, metrics=(POISONED,))
    return Mix(careless=0.0, poison=share_of_rows * len(METRICS))


SCENARIOS = tuple(
    Scenario(
        f"poison-{name}",
        f"{name.replace('-', '.')} % of the rows are refused by a constraint: they alone become dead letters.",
        swallow,
        events=events,
        mix=_mix(share),
        repeats=False,
        environment={"BATCH_MAX_EVENTS": "100"} if share == 1 else {},
        short=name == "5",
    )
    for name, share, events in (("0-1", 0.001, 20_000), ("5", 0.05, 1_500), ("100", 1.0, 1_000))
)
