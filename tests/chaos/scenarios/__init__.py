"""Every scenario, in the order in which they are run."""

from tests.chaos.scenarios import broker, disk, engine, members, mistakes, network, poison, shards, workers

ALL = (
    *workers.SCENARIOS,
    *members.SCENARIOS,
    *engine.SCENARIOS,
    *shards.SCENARIOS,
    *disk.SCENARIOS,
    *mistakes.SCENARIOS,
    *network.SCENARIOS,
    *broker.SCENARIOS,
    *poison.SCENARIOS,
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
