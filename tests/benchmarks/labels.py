"""The labels of an event, with names of OpenTelemetry's conventions."""

from random import Random

from tests.benchmarks.metric_maps import MODELS, REGIONS
from tests.benchmarks.shape import Shape

_ENVIRONMENTS = ("production", "staging")
_VERSIONS = ("1.4.2", "1.4.3", "1.5.0-rc1")


def draw_labels(shape: Shape, random: Random, agent: int) -> dict[str, str]:
    """The labels of one event of an agent: the model varies by event, the others by agent."""
    labels = {
        "gen_ai.request.model": random.choice(MODELS),
        "cloud.region": REGIONS[agent % len(REGIONS)],
        "service.version": _VERSIONS[agent % len(_VERSIONS)],
        "deployment.environment.name": _ENVIRONMENTS[agent % len(_ENVIRONMENTS)],
    }
    chosen = dict(list(labels.items())[: shape.labels])
    if shape.distinct_labels:
        chosen["session.id"] = f"{random.getrandbits(64):016x}"
    return chosen
