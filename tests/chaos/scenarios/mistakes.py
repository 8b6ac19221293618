"""Mistakes that are ours and not the metrics': a table that is not there, a password that is not right."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from deploy.local.demo.table import TABLE
from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import LONG_RETRIES
from tests.chaos.events import VALID_ONLY
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.chaos.environment import Environment


def misconfigure(env: Environment, fault: str) -> None:
    """Make a mistake that is not the metrics' while the worker runs, and mend it."""
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        with _FAULTS[fault](env):
            env.wait_until(lambda: fault in worker.process.readiness().get("store", ""), "the reason at /readyz")
            env.sleep_between(env.outage_seconds / 2, env.outage_seconds)
            env.check(fault in worker.process.readiness().get("store", ""), "the reason at /readyz has gone")
        check_resumes(env, worker)
    starts = [line["reason"] for line in worker.log_lines("holding")]
    env.check(len(starts) == 1 and fault in starts[0], f"log lines when holding starts: {starts}")
    check_no_rebalance(env, worker)


@contextmanager
def _table_missing(env: Environment) -> Iterator[None]:
    env.run_sql(f"RENAME TABLE {TABLE} TO elsewhere")
    yield
    env.run_sql(f"RENAME TABLE elsewhere TO {TABLE}")


@contextmanager
def _other_password(env: Environment) -> Iterator[None]:
    """Somebody changes the password at the engine, and changes it back."""
    env.stack.engine.change_password("another")
    yield
    env.stack.engine.change_password("")


_FAULTS = {"UNKNOWN_TABLE": _table_missing, "AUTHENTICATION_FAILED": _other_password}

SCENARIOS = (
    Scenario(
        "table-missing",
        "The table is renamed away while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="UNKNOWN_TABLE"),
        mix=VALID_ONLY,
        short=True,
    ),
    Scenario(
        "password-wrong",
        "The password at ClickHouse changes while the worker runs, and back: no dead letter, the reason said.",
        partial(misconfigure, fault="AUTHENTICATION_FAILED"),
        mix=VALID_ONLY,
        environment=LONG_RETRIES,  # the engine starts again with the other password: that is no outage
    ),
)
