"""Mistakes that are ours and not the metrics': a table that is not there, a password that is not right."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.field import PATIENT
from tests.chaos.scenario import Scenario
from tests.chaos.stream import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.field import Field


def misconfigure(field: Field, fault: str) -> None:
    """Make a mistake that is not the metrics' while the worker runs, and mend it."""
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        with _FAULTS[fault](field):
            field.wait(lambda: fault in member.process.readiness().get("store", ""), "the reason at /readyz")
            field.chance(field.outage_seconds / 2, field.outage_seconds)
            field.check(fault in member.process.readiness().get("store", ""), "the reason at /readyz has gone")
        resumes(field, member)
    starts = [line["reason"] for line in member.said("holding")]
    field.check(len(starts) == 1 and fault in starts[0], f"log lines when holding starts: {starts}")
    keeps_membership(field, member)


@contextmanager
def _table_missing(field: Field) -> Iterator[None]:
    field.run_sql(f"RENAME TABLE {TABLE} TO elsewhere")
    yield
    field.run_sql(f"RENAME TABLE elsewhere TO {TABLE}")


@contextmanager
def _other_password(field: Field) -> Iterator[None]:
    """Somebody changes the password at the engine, and changes it back."""
    field.stack.engine.change_password("another")
    yield
    field.stack.engine.change_password("")


_FAULTS = {"UNKNOWN_TABLE": _table_missing, "AUTHENTICATION_FAILED": _other_password}

SCENARIOS = (
    Scenario(
        "table-missing",
        "The table is renamed away while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="UNKNOWN_TABLE"),
        mix=PLAIN,
        short=True,
    ),
    Scenario(
        "password-wrong",
        "The password at ClickHouse changes while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="AUTHENTICATION_FAILED"),
        mix=PLAIN,
        environment=PATIENT,  # the engine starts again with the other password: that is no outage
    ),
)
