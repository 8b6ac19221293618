"""Every scenario, in the order in which they are run."""

from tests.chaos.scenarios import broker, engine, group, network, outages, poison, workers

ALL = (
    *workers.SCENARIOS,
    *group.SCENARIOS,
    *engine.SCENARIOS,
    *outages.SCENARIOS,
    *network.SCENARIOS,
    *broker.SCENARIOS,
    *poison.SCENARIOS,
)
BY_NAME = {scenario.name: scenario for scenario in ALL}
