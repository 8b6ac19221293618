"""A histogram that `prometheus_client` does not have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from worker.observability.instruments import BulkHistogram

BOUNDS = (0.5, 1.0, 10.0)


@given(st.lists(st.lists(st.floats(0, 20))))
def test_bulk_histogram_equals_the_library_s(batches: list[list[float]]) -> None:
    one_by_one, in_bulk = CollectorRegistry(), CollectorRegistry()
    histogram = Histogram("h", "H.", buckets=BOUNDS, registry=one_by_one)
    bulk = BulkHistogram("h", "H.", BOUNDS, in_bulk)
    for batch in batches:
        for value in batch:
            histogram.observe(value)
        bulk.observe_all(batch)
    for le in ("0.5", "1.0", "10.0", "+Inf"):
        expected = one_by_one.get_sample_value("h_bucket", {"le": le})
        assert in_bulk.get_sample_value("h_bucket", {"le": le}) == expected
    assert in_bulk.get_sample_value("h_count") == one_by_one.get_sample_value("h_count")
    assert in_bulk.get_sample_value("h_sum") == pytest.approx(one_by_one.get_sample_value("h_sum"))


def test_negative_values_do_not_decrease_the_sum() -> None:
    """The clock of a producer may be ahead of ours, and Prometheus takes a smaller sum for a restart."""
    registry = CollectorRegistry()
    bulk = BulkHistogram("h", "H.", BOUNDS, registry)
    bulk.observe_all([2.0])
    bulk.observe_all([-100.0, 0.25])
    assert registry.get_sample_value("h_sum") == 2.25
    assert registry.get_sample_value("h_bucket", {"le": "0.5"}) == 2
