"""The limits of a batch."""

import pytest

from worker.events.batch_policy import BatchPolicy


@pytest.mark.parametrize("limits", [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -0.1), (1, 1, float("nan")), (1, 1, float("inf"))])
def test_limits_out_of_range_are_refused(limits: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        BatchPolicy(*limits)
