"""Every scenario, in the order in which they are run."""

from tests.chaos.scenarios import broker, disk, engine, members, mistakes, network, poison, workers

ALL = (
    *workers.SCENARIOS,
    *members.SCENARIOS,
    *engine.SCENARIOS,
    *disk.SCENARIOS,
    *mistakes.SCENARIOS,
    *network.SCENARIOS,
    *broker.SCENARIOS,
    *poison.SCENARIOS,
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
