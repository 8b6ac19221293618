"""A table of two shards, of which one is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chaos.claims import keeps_membership, resumes
from tests.chaos.field import IN_FLIGHT_METRICS
from tests.chaos.scenario import Scenario

if TYPE_CHECKING:
    from tests.chaos.field import Field

_MOST_FAILED_INSERTS = 100
"""The retry budgets of what is in flight, and trials; a worker that cut its blocks would need thousands."""


def take_shard_away(field: Field) -> None:
    """Kill one of two shards under load, for a time that is long beside the retry budget, and bring it back."""
    assert field.cluster is not None, "the scenario has shards"
    shard = field.cluster.engines[1]
    with field.load.flowing(per_second=field.events / (field.outage_seconds + 10)):
        member = field.crew.start()
        field.wait(lambda: field.rows() > 0, "the first rows")
        shard.kill()
        field.wait(lambda: "store" in member.process.readiness(), "the worker holds")
        field.chance(field.outage_seconds, field.outage_seconds)
        field.check(
            "ALL_CONNECTION_TRIES_FAILED" in member.process.readiness().get("store", ""), "no reason at /readyz"
        )
        shard.start()
        resumes(field, member)
    telemetry = member.process.telemetry()
    inserts = telemetry["metrics_worker_inserts_total"]
    failed = sum(count for labels, count in inserts.items() if "unavailable" in labels)
    field.notes["inserts that failed"] = failed
    field.check(failed <= _MOST_FAILED_INSERTS, f"{failed:g} inserts failed")
    cut = sum(count for (reason,), count in telemetry["metrics_worker_splits_total"].items() if reason != "refused")
    field.check(not cut, f"{cut:g} blocks were cut because of an outage")
    keeps_membership(field, member)


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
