"""The agents of the month to explore: how they run, what they cost, and what happened to them."""

from __future__ import annotations

from typing import NamedTuple

PRICES = {"large-2": 12.0, "small-2": 0.9, "mini-1": 0.2}
"""US dollars for a million tokens of output by model; a token of input costs a fifth."""


class Release(NamedTuple):
    """A release of an agent.

    Attributes:
        name: its label.
        days_ago: when it came.
        failures: share of its executions that fail.
        slower: factor on the duration.
    """

    name: str
    days_ago: float
    failures: float
    slower: float = 1.0


class Agent(NamedTuple):
    """An agent.

    Attributes:
        share: of all executions, as a weight.
        models: weights of the models it asks.
        seconds: typical duration of an execution.
        tokens: typical tokens of output.
        releases: oldest first.
        silent_days: how long ago it stopped; 0 if it runs.
        scores: whether some of its executions have a quality score.
    """

    name: str
    share: float
    models: dict[str, float]
    seconds: float
    tokens: int
    releases: tuple[Release, ...]
    silent_days: float = 0.0
    scores: bool = False


AGENTS = (
    Agent(
        "triage", 8, {"mini-1": 9, "small-2": 1}, 1.8, 180, (Release("3.1.0", 99, 0.02), Release("3.2.0", 12, 0.02))
    ),
    # 2.0.0 failed four times as often, and was replaced after two days.
    Agent(
        "support", 5, {"small-2": 7, "large-2": 3}, 6.0, 700,
        (Release("1.9.3", 99, 0.04), Release("2.0.0", 9, 0.17), Release("2.0.1", 7, 0.03)), scores=True,
    ),
    Agent("search", 4, {"mini-1": 1}, 0.9, 90, (Release("0.14.0", 99, 0.01), Release("0.15.0", 5, 0.01, slower=1.6))),
    Agent("coder", 2, {"large-2": 1}, 45.0, 4_200, (Release("5.3.1", 99, 0.11), Release("5.4.0", 16, 0.08))),
    Agent("report", 1, {"large-2": 1, "small-2": 1}, 20.0, 2_500, (Release("1.2.0", 99, 0.05),)),
    Agent("translate", 2, {"small-2": 1}, 3.0, 900, (Release("2.2.0", 99, 0.02),), silent_days=6, scores=True),
)  # fmt: skip
