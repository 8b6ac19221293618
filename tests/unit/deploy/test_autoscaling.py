"""The simulation of autoscaling: Kubernetes' arithmetic, the manifests, and what follows for a day."""

from pathlib import Path

import pytest

from deploy.autoscaling.__main__ import BEGIN, DOCUMENT, END, PICTURE
from deploy.autoscaling.horizontal_pod_autoscaler import (
    SYNC_SECONDS,
    Direction,
    HorizontalPodAutoscaler,
    Limits,
    Metric,
    Policy,
    propose_replicas,
    replicas_for,
)
from deploy.autoscaling.keda import Fallback
from deploy.autoscaling.manifests import CPU_RECORD, LAG_RECORD, load_records, read_scaling
from deploy.autoscaling.report import LAG, MANIFESTS, render_picture, render_table, run
from deploy.autoscaling.scenarios import DEPLOY, ORDINARY, OUTAGE, UNREAD
from deploy.autoscaling.simulation import Result
from deploy.markers import replace_between
from deploy.scale_table import _column
from worker.planning.arithmetic import CORE_SHARE, HEADROOM

DEPLOY_FOLDER = Path(__file__).parents[3] / "deploy"
AT_ONCE = Direction(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))


class TestHorizontalPodAutoscaler:
    """The examples are those of kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/."""

    @pytest.mark.parametrize(
        ("average", "replicas"), [(200, 8), (50, 2), (100, 4), (109, 4), (91, 4), (111, 5), (89, 4), (74, 3)]
    )
    def test_average_value_is_compared_with_the_target_and_a_tenth_is_tolerated(
        self, average: float, replicas: int
    ) -> None:
        assert replicas_for(Metric(4 * average, target=100), current=4) == replicas

    def test_largest_proposal_is_used(self) -> None:
        assert propose_replicas([Metric(3, 1), Metric(900, 100), Metric(0, 1)], current=4) == 9

    def test_unread_metric_lets_the_others_scale_up_but_not_down(self) -> None:
        assert propose_replicas([Metric(None, 1), Metric(6, 1)], current=4) == 6
        assert propose_replicas([Metric(None, 1), Metric(2, 1)], current=4) is None
        assert propose_replicas([Metric(None, 1)], current=4) is None

    def test_scaling_up_waits_until_the_whole_window_asks_for_it(self) -> None:
        up = Direction(60, (Policy("Percent", 100, 60),))
        assert decide(Limits(1, 20, up, AT_ONCE), [2, 2, 6, 6, 6, 6], current=2) == [2, 2, 2, 2, 2, 4]

    def test_scaling_down_waits_for_the_highest_proposal_of_its_window(self) -> None:
        down = Direction(60, (Policy("Percent", 100, 15),))
        assert decide(Limits(1, 20, AT_ONCE, down), [8, 3, 5, 3, 3, 3, 3], current=8) == [8, 8, 8, 8, 5, 5, 3]

    def test_policy_counts_what_has_changed_within_its_period(self) -> None:
        down = Direction(0, (Policy("Pods", 1, 60),))
        assert decide(Limits(2, 20, AT_ONCE, down), [1] * 9, current=5) == [4, 4, 4, 4, 3, 3, 3, 3, 2]
        up = Direction(0, (Policy("Percent", 100, 60),))
        assert decide(Limits(2, 7, up, AT_ONCE), [30] * 6, current=2) == [4, 4, 4, 4, 7, 7]

    def test_start_of_a_period_counts_changes_of_both_directions(self) -> None:
        both = Direction(0, (Policy("Pods", 1, 60),))
        assert decide(Limits(1, 20, both, both), [3, 9, 9], current=4) == [3, 5, 5]

    def test_policy_that_allows_most_is_used(self) -> None:
        assert decide(Limits(1, 100, AT_ONCE, AT_ONCE), [50, 50, 50], current=1) == [5, 10, 20]


def decide(limits: Limits, wanted: list[int], current: int) -> list[int]:
    """The replicas after each synchronisation."""
    autoscaler, replicas = HorizontalPodAutoscaler(limits), []
    for number, value in enumerate(wanted):
        current = autoscaler.decide(number * SYNC_SECONDS, current, [Metric(value, 1)])
        replicas.append(current)
    return replicas


def test_fallback_of_keda_keeps_the_replicas_after_more_failures_than_its_threshold() -> None:
    fallback, unread = Fallback(failure_threshold=3, replicas=2), [Metric(None, 300_000)]
    assert [fallback.apply(unread, 5)[0].value for _ in range(4)] == [None, None, None, 1_500_000]
    assert fallback.apply(unread, 1)[0].value == 600_000
    assert fallback.apply([Metric(7, 1)], 5) == [Metric(7, 1)]
    assert fallback.apply(unread, 5) == unread


class TestManifests:
    def test_limits_are_those_of_the_table_of_scale(self) -> None:
        plan, limits = _column("10⁴", 10_000).plan, read_scaling().limits
        assert (limits.min_replicas, limits.max_replicas) == (plan.wanted_workers, plan.partitions)

    def test_triggers_query_the_recording_rules(self) -> None:
        assert read_scaling().thresholds.keys() == load_records().keys() & {CPU_RECORD, LAG_RECORD}

    def test_cpu_of_a_worker_leaves_the_headroom_of_the_plan(self) -> None:
        assert read_scaling().cores_per_worker == CORE_SHARE / HEADROOM

    def test_thresholds_survive_the_fallback_of_keda(self) -> None:
        assert all(threshold == int(threshold) >= 1 for threshold in read_scaling().thresholds.values())

    def test_page_and_picture_are_current(self) -> None:
        page = (DEPLOY_FOLDER / DOCUMENT).read_text("utf-8")
        command = "run: python -m deploy.autoscaling deploy"
        assert replace_between(page, BEGIN, END, render_table()) == page, command
        assert (DEPLOY_FOLDER / PICTURE).read_text("utf-8") == render_picture(), command


class TestDay:
    def test_replicas_rise_once_and_fall_once(self) -> None:
        result = run(ORDINARY, MANIFESTS)
        assert (result.turns, result.rebalances) == (1, len(result.steps))
        assert max(sample.replicas for sample in result.samples) - 2 == len(result.steps) / 2

    def test_lag_alone_oscillates(self) -> None:
        result = run(ORDINARY, LAG)
        assert result.turns > 10
        assert result.late_seconds > 5 * run(ORDINARY, MANIFESTS).late_seconds

    def test_nothing_is_added_while_workers_hold_and_the_backlog_adds_afterwards(self) -> None:
        begins, ends = OUTAGE.outage_begins, OUTAGE.outage_ends
        assert replicas_between(run(OUTAGE, MANIFESTS), begins, ends) == {7}
        assert max(replicas_between(run(OUTAGE, MANIFESTS), ends, ends + 300)) == 12
        assert max(replicas_between(run(OUTAGE, LAG), begins, ends)) == 12

    def test_deploy_changes_no_replicas_and_makes_no_rebalance(self) -> None:
        assert run(DEPLOY, MANIFESTS).steps == run(ORDINARY, MANIFESTS).steps
        assert run(DEPLOY, MANIFESTS).rebalances == run(ORDINARY, MANIFESTS).rebalances
        assert run(DEPLOY, MANIFESTS).late_seconds > run(ORDINARY, MANIFESTS).late_seconds

    def test_replicas_stay_while_prometheus_cannot_be_read(self) -> None:
        assert replicas_between(run(UNREAD, MANIFESTS), UNREAD.unread_from, UNREAD.unread_until) == {8}


def replicas_between(result: Result, begins: int, ends: int) -> set[int]:
    return {sample.replicas for sample in result.samples if begins <= sample.at < ends}
