"""The arithmetic of a plan, with answers that were computed by hand."""

from math import inf

import pytest

from worker.batch_reader import BatchPolicy
from worker.planning.arithmetic import EventCosts, Load, Plan, RetryProtection, make_plan

COSTS = EventCosts(cpu_microseconds=13.0, rows=10.0, record_bytes=500.0, block_bytes=1_200.0, disk_bytes_per_row=40.0)
"""A worker handles 0.65 / 13 µs = 50,000 of them a second."""
PROTECTION = RetryProtection(window=10_000, window_seconds=None, retry_seconds=90.0)
DEFAULT = BatchPolicy()


def plan(
    rate: float,
    partitions: int | None = None,
    lag: int | None = None,
    costs: EventCosts = COSTS,
    policy: BatchPolicy = DEFAULT,
    protection: RetryProtection = PROTECTION,
) -> Plan:
    return make_plan(costs, Load(rate, partitions, lag), policy, protection)


@pytest.mark.parametrize(
    ("rate", "needed", "wanted", "partitions"),
    [
        (0, 1, 2, 12),
        (10_000, 1, 2, 12),
        (25_000, 1, 2, 12),  # half of a worker's capacity
        (25_001, 2, 3, 12),
        (100_000, 4, 6, 12),
        (1_000_000, 40, 60, 120),
    ],
)
def test_workers_have_twice_the_capacity_and_a_spare_zone(rate: int, needed: int, wanted: int, partitions: int) -> None:
    planned = plan(rate)
    assert planned.worker_capacity == pytest.approx(50_000)
    assert (planned.needed_workers, planned.wanted_workers, planned.workers) == (needed, wanted, wanted)
    assert planned.partitions == partitions


def test_workers_are_no_more_than_partitions() -> None:
    planned = plan(100_000, partitions=4)
    assert (planned.wanted_workers, planned.workers, planned.partitions) == (6, 4, 12)


def test_partitions_of_the_topic_stay_if_they_are_enough() -> None:
    assert plan(100_000, partitions=7).partitions == 7


def test_batches_of_the_settings_of_now() -> None:
    batches = plan(100_000).present_batches
    # 6 workers of 16,667 events a second: a batch of 3,333 lingers for 200 ms.
    assert (batches.linger_ms, batches.max_events) == (200, 5_000)
    assert batches.inserts_per_second == pytest.approx(30)
    assert batches.parts_per_second == pytest.approx(30)
    assert batches.rows_per_insert == pytest.approx(1_000_000 / 30)
    assert batches.catch_up_parts_per_second == pytest.approx(6 * 50_000 / 5_000)


def test_linger_is_the_shortest_with_few_enough_parts() -> None:
    batches = plan(100_000).batches
    # 500 ms would be 12 parts a second.
    assert (batches.linger_ms, batches.max_events) == (1_000, 34_000)
    # 34,000 events of 1,200 bytes are more than the 16 MiB of an INSERT: 13,981 events, 1.19 INSERTs a second.
    assert batches.parts_per_second == pytest.approx(6 * (100_000 / 6) / (16 * 2**20 / 1_200))
    assert plan(10_000).batches.linger_ms == 200


def test_linger_is_not_longer_where_that_makes_no_fewer_parts() -> None:
    batches = plan(1_000_000).batches
    # Every INSERT is full after 839 ms.
    assert batches.linger_ms == 1_000
    assert batches.parts_per_second == pytest.approx(1_000_000 / (16 * 2**20 / 1_200))


def test_batch_ends_at_its_limit_of_bytes() -> None:
    batches = plan(40_000, costs=COSTS._replace(record_bytes=8 * 2**20 / 1_000)).present_batches
    assert batches.inserts_per_second == pytest.approx(40)  # of 1,000 events each


def test_several_months_are_several_parts() -> None:
    costs = COSTS._replace(inserts_per_batch=1.0, parts_per_batch=3.0)
    batches = plan(10_000, costs=costs).present_batches
    assert batches.inserts_per_second == pytest.approx(10)
    assert batches.parts_per_second == pytest.approx(30)
    rare = plan(1, costs=costs).present_batches
    assert rare.parts_per_second == pytest.approx(1), "a batch of one event has one month"


def test_batch_without_linger_is_one_event_at_a_low_rate() -> None:
    assert plan(4, policy=BatchPolicy(linger_seconds=0)).present_batches.inserts_per_second == pytest.approx(4)


def test_window_is_measured_while_a_backlog_is_worked_off() -> None:
    # 2 workers in batches of 5,000: 20 parts a second.
    assert plan(10_000).window_seconds == pytest.approx(500)
    replicated = RetryProtection(window=10_000_000, window_seconds=3_600.0, retry_seconds=90.0)
    assert plan(10_000, protection=replicated).window_seconds == 3_600


def test_disk_of_a_day() -> None:
    assert plan(10_000).disk_bytes_per_day == 86_400 * 10_000 * 10 * 40


@pytest.mark.parametrize(
    ("rate", "partitions", "lag", "seconds"),
    [
        (10_000, None, None, None),
        (10_000, None, 0, 0.0),
        (10_000, None, 900_000, 10.0),  # 2 * 50,000 - 10,000 a second
        (100_000, 2, 1, inf),
        (100_000, 2, 0, 0.0),
    ],
)
def test_time_to_work_off_the_lag(rate: int, partitions: int | None, lag: int | None, seconds: float | None) -> None:
    assert plan(rate, partitions, lag).catch_up_seconds == pytest.approx(seconds)


def test_events_without_rows_make_no_inserts() -> None:
    costs = COSTS._replace(rows=0.0, block_bytes=0.0, inserts_per_batch=0.0, parts_per_batch=0.0)
    planned = plan(10_000, costs=costs)
    assert planned.batches.inserts_per_second == planned.batches.rows_per_insert == planned.disk_bytes_per_day == 0
    assert planned.window_seconds == inf
