"""Bounds of the policy of a replay; `test_replayer` tests what a plan counts."""

import pytest

from worker.replay.plan import ReplayPolicy


@pytest.mark.parametrize("name", ["max_replays", "limit", "metrics_per_second", "max_metrics", "max_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_policy_refuses_numbers_that_are_not_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        ReplayPolicy(**{name: value})  # type: ignore[arg-type]  # none of these is the filter


@pytest.mark.parametrize(("rate", "metrics"), [(0.5, 1), (7.9, 7), (10**9, 20_000), (None, 20_000)])
def test_block_has_at_most_the_metrics_of_one_second(rate: float | None, metrics: int) -> None:
    assert ReplayPolicy(metrics_per_second=rate, max_metrics=20_000).block_metrics == metrics
