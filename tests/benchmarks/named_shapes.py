"""The shapes by name, for the benchmarks and for `tests/unit/test_shape_costs.py`."""

from dataclasses import replace

from tests.benchmarks.shape import Shape

PLAIN = Shape()
TELEMETRY = Shape(gen_ai=True, strings=2, booleans=1, nulls=0.125, labels=4, agents=50, keyed=True)
"""What other people's producers send."""
EVENTS = {"telemetry": TELEMETRY, "plain": PLAIN}
"""The default event of the benchmarks, and the one of numbers only."""

ORDINARY = {
    "telemetry": TELEMETRY,
    "two strings": Shape(strings=2),
    "two booleans": Shape(metrics=8, booleans=2),
    "a null": Shape(metrics=11, nulls=1.0),
    "a list": Shape(lists=1),
    "decimals of which half are whole numbers": Shape(whole=0.5),
    "sparse: one of ten metrics is missing": Shape(metrics=11, missing=0.1),
    "sparse: half of twenty metrics are missing": Shape(metrics=20, missing=0.5),
    "varied: fifty sets of names": Shape(name_sets=50, agents=50),
    "two strings, decimals of which half are whole numbers": Shape(strings=2, whole=0.5),
    "two strings, sparse: one of ten metrics is missing": Shape(metrics=11, strings=2, missing=0.1),
    "two strings, varied: fifty sets of names": Shape(strings=2, name_sets=50, agents=50),
    "four labels": Shape(labels=4, agents=50),
    "without completed_at": Shape(has_completed_at=False),
    "times with an offset": Shape(local_times=True),
    "optional fields": Shape(optional_fields=True),
    "without a user": Shape(users=0),
    "keys": Shape(keyed=True),
    "three headers": Shape(headers=3),
    "CloudEvents, binary mode": Shape(cloudevent="binary"),
    "CloudEvents, structured mode": Shape(cloudevent="structured"),
    "three months": Shape(months=3),
    "non-ASCII names": Shape(non_ascii=True),
}
"""Shapes of about as many rows an event as `PLAIN`, of which none should cost much more."""

UNKNOWN = {
    "new names in each event": Shape(random_names=1.0),
    "new names and two strings in each event": Shape(random_names=1.0, strings=2),
    "new labels in each event": Shape(labels=4, distinct_labels=True),
    "a new order in each event": Shape(shuffled=True),
    "a new order and two strings in each event": Shape(shuffled=True, strings=2),
}
"""Shapes of which nothing can be remembered from one event to the next."""

_TEN_YEARS = 3_650
"""Days."""
_CARELESS = Shape(random_times=0.02, random_names=0.02, wide=0.02)

UNUSUAL = {
    "1 metric": Shape(1),
    "100 metrics": Shape(100),
    "events of 0.3 KB": Shape(5),
    "events of 1 KB": Shape(padding=600),
    "events of 10 KB": Shape(padding=9_800),
    "a user and an agent for each event": Shape(users=10**9, agents=10**9),
    "one user, one agent": Shape(users=1, agents=1),
    "0.1 % of the events poisoned": Shape(poison=0.001),
    "5 % of the events poisoned": Shape(poison=0.05),
    "a metric always refused, in 0.1 % of the events": Shape(refused=0.001),
    "a metric always refused, in 1 % of the events": Shape(refused=0.01),
    "a metric always refused, in every event": Shape(refused=1.0),
    "2 % at random times of 400 days": Shape(random_times=0.02),
    "2 % at random times of ten years, all accepted": Shape(
        random_times=0.02, time_range_days=_TEN_YEARS, max_age_days=0
    ),
    "2 % with random names": Shape(random_names=0.02),
    "2 % with 1,000 metrics": Shape(wide=0.02),
    "a careless producer: all three": _CARELESS,
    "a careless producer, times of ten years": replace(_CARELESS, time_range_days=_TEN_YEARS),
    "a careless producer, times of ten years, all accepted": replace(
        _CARELESS, time_range_days=_TEN_YEARS, max_age_days=0
    ),
}
"""Other numbers of rows, sizes, and events of which something is refused."""
SHAPES = {**EVENTS, **ORDINARY, **UNKNOWN, **UNUSUAL}
_SHARES = {"100 metrics": 10, "events of 10 KB": 4, "a metric always refused, in every event": 5}


def find_shapes(part: str) -> dict[str, Shape]:
    """The shapes whose names contain `part`."""
    return {name: shape for name, shape in SHAPES.items() if part in name}


def share_of_events(name: str, count: int) -> int:
    """How many events of the shape `name` take about as long as `count` of the plain one."""
    return count // _SHARES.get(name, 1)
