"""Every scenario, in the order in which they are run."""

from tests.chaos.scenarios import workers

ALL = (*workers.SCENARIOS,)
BY_NAME = {scenario.name: scenario for scenario in ALL}
