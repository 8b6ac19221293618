"""Every scenario, by name."""

from tests.chaos.scenario import BY_NAME
from tests.chaos.scenarios import broker, engine, group, network, outages, poison, retention, workers

__all__ = ["ALL", "BY_NAME", "broker", "engine", "group", "network", "outages", "poison", "retention", "workers"]
ALL = tuple(BY_NAME.values())
