"""A table of two shards, of which one is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.checks import check_no_rebalance, check_resumes
from tests.chaos.environment import IN_FLIGHT_METRICS
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.environment import Environment

_MOST_FAILED_INSERTS = 100
"""The retry budgets of what is in flight, and trials; a worker that cut its blocks would need thousands."""


def take_shard_away(env: Environment) -> None:
    """Kill one of two shards under load, for a time that is long beside the retry budget, and bring it back."""
    assert env.cluster is not None, "the scenario has shards"
    shard = env.cluster.engines[1]
    with env.load.send_in_background(per_second=env.events / (env.outage_seconds + 10)):
        worker = env.workers.start()
        env.wait_until(lambda: env.count_rows() > 0, "the first rows")
        shard.kill()
        env.wait_until(lambda: "store" in worker.process.readiness(), "the worker holds")
        env.sleep_between(env.outage_seconds, env.outage_seconds)
        env.check("ALL_CONNECTION_TRIES_FAILED" in worker.process.readiness().get("store", ""), "no reason at /readyz")
        shard.start()
        check_resumes(env, worker)
    telemetry = worker.process.telemetry()
    inserts = telemetry["metrics_worker_inserts_total"]
    failed = sum(count for labels, count in inserts.items() if "unavailable" in labels)
    env.figures["inserts that failed"] = failed
    env.check(failed <= _MOST_FAILED_INSERTS, f"{failed:g} inserts failed")
    cut = sum(count for (reason,), count in telemetry["metrics_worker_splits_total"].items() if reason != "refused")
    env.check(not cut, f"{cut:g} blocks were cut because of an outage")
    check_no_rebalance(env, worker)


SCENARIOS = (
    Scenario(
        "shard-away",
        "One of two shards of the table away under load for --outage seconds, ON_UNAVAILABLE=dead_letter.",
        take_shard_away,
        outage_letters=IN_FLIGHT_METRICS,
        shards=2,
        short=True,
    ),
    Scenario(
        "shard-away-hold",
        "The same with ON_UNAVAILABLE=hold: not one dead letter.",
        take_shard_away,
        environment={"ON_UNAVAILABLE": "hold"},
        shards=2,
    ),
)
