"""Connections to ClickHouse that break in the ways connections break."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.field import IN_FLIGHT_METRICS, PATIENT
from tests.chaos.scenario import Scenario
from tests.support.connection import Side

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.field import Field

_FAULTS = 12
_MOST_BYTES = 100_000
"""Of some inserts of this load."""
_ANSWER_BYTES = 500
"""Of the engine's answer to one: the layout of the table, then the end."""


def lose_answers(field: Field) -> None:
    """Cut the connection when the engine has committed an insert and its answer is on the way."""
    proxy = field.engine_proxy

    def fault() -> None:
        before = proxy.cuts
        proxy.lose_answer_after(field.random.randrange(1, _MOST_BYTES))
        field.wait(lambda: proxy.cuts > before or not field.load.left, "an answer is lost")

    _again_and_again(field, fault)


def cut_connections(field: Field) -> None:
    """Cut it anywhere: after some bytes in one direction or the other, in an answer, in a block, in between."""
    proxy = field.engine_proxy

    def fault() -> None:
        lane = field.random.choice((proxy.to_server, proxy.to_client, None))
        if lane is None:
            proxy.cut()
        else:
            lane.cut_after(field.random.randrange(1, _MOST_BYTES if lane is proxy.to_server else _ANSWER_BYTES))
        field.chance(0.0, 1.0)

    _again_and_again(field, fault)
    field.check(proxy.cuts > 0, "no connection was cut")


def half_open(field: Field) -> None:
    """One side of a connection is gone, and the other does not hear of it."""

    def fault() -> None:
        field.engine_proxy.half_open(field.random.choice(tuple(Side)))
        field.chance(0.3, 1.0)

    _again_and_again(field, fault)


def black_hole(field: Field) -> None:
    """Whoever is there accepts everything and never answers, longer than every time-out."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        field.engine_proxy.silent = True
        field.wait(lambda: "store" in member.process.readiness(), "the worker holds", timeout_seconds=60.0)
        field.chance(field.outage_seconds / 2, field.outage_seconds)
        field.engine_proxy.silent = False
        resumes(field, member)
    keeps_membership(field, member)


def _again_and_again(field: Field, fault: Callable[[], None]) -> None:
    """Do `fault` while records flow."""
    faults = 0
    field.crew.start()
    with field.load.flowing(per_second=field.events / _FAULTS):
        while field.load.left:
            fault()
            faults += 1
            field.chance(0.0, 0.5)
    field.notes["faults"] = faults


SCENARIOS = (
    Scenario(
        "answer-lost",
        "The connection breaks between ClickHouse's commit and its answer; not even the table has a row twice.",
        lose_answers,
        environment=PATIENT,
        repeats=False,
        short=True,
    ),
    Scenario(
        "connection-cut",
        "Connections to ClickHouse cut after any number of bytes, in either direction.",
        cut_connections,
        environment=PATIENT,
        repeats=False,
    ),
    Scenario(
        "half-open",
        "Connections to ClickHouse of which only one side knows that they are gone.",
        half_open,
        environment=PATIENT,
    ),
    Scenario(
        "black-hole",
        "ClickHouse accepts and never answers, longer than every time-out.",
        black_hole,
        outage_letters=IN_FLIGHT_METRICS,
        short=True,
    ),
)
