"""When a worker is ready, and why not."""

from dataclasses import dataclass
from time import monotonic

import pytest

from worker.core.heartbeat import Heartbeat
from worker.core.hold import TOPIC, Cause, Hold
from worker.observability.lag import PartitionLag
from worker.observability.status import GROUP, WorkerState
from worker.observability.status_reporter import StatusReporter
from worker.observability.telemetry import Telemetry


@dataclass
class MemoryTopic:
    """A topic that is read, as the status sees it."""

    topic: str = "events"
    is_group_member: bool = True
    has_been_group_member: bool = True
    lag: tuple[PartitionLag, ...] = ()
    topic_problem: str | None = None
    retention_seconds: float | None = None


class ReporterHarness:
    """A reporter and the parts that it reads."""

    def __init__(self) -> None:
        self.source, self.telemetry, self.hold = MemoryTopic(), Telemetry(), Hold()
        self.reporter = StatusReporter("1.0", "group", self.source, self.telemetry, self.hold, Heartbeat())

    @property
    def reasons(self) -> set[str]:
        return set(self.reporter.report().reasons)

    def holding(self, cause: str) -> float | None:
        return self.telemetry.registry.get_sample_value("metrics_worker_holding", {"cause": cause})


@pytest.fixture
def bench() -> ReporterHarness:
    return ReporterHarness()


def test_worker_without_a_problem_is_running(bench: ReporterHarness) -> None:
    status = bench.reporter.report()
    assert status.state is WorkerState.RUNNING
    assert (status.version, status.topic, status.group) == ("1.0", "events", "group")


@pytest.mark.parametrize("open_inserts", ["unanswered", "in_flight"])
def test_insert_that_fails_for_ten_seconds_is_a_reason_of_the_store(bench: ReporterHarness, open_inserts: str) -> None:
    inserts = getattr(bench.telemetry, open_inserts)
    inserts.record(1, monotonic() - 9, "connection refused")
    assert not bench.reasons
    inserts.record(2, monotonic() - 11, "connection refused")
    assert bench.reasons == {Cause.STORE.value}
    assert "for 11 s: connection refused" in bench.reporter.report().reasons[Cause.STORE.value]


def test_reason_of_a_hold_is_shown_rather_than_the_failing_insert(bench: ReporterHarness) -> None:
    bench.telemetry.unanswered.record(1, monotonic() - 11, "connection refused")
    bench.hold.enter(Cause.STORE, "the table is missing")
    assert bench.reporter.report().reasons == {Cause.STORE.value: "the table is missing"}


def test_missing_topic_and_membership_are_reasons(bench: ReporterHarness) -> None:
    bench.source.topic_problem, bench.source.is_group_member = "it does not exist", False
    assert bench.reasons == {TOPIC, GROUP}


def test_gauges_follow_the_hold_and_the_topic(bench: ReporterHarness) -> None:
    bench.reporter.set_gauges()
    assert [bench.holding(cause) for cause in ("store", "dead_letters", "topic")] == [0, 0, 0]
    bench.hold.enter(Cause.DEAD_LETTERS, "no leader")
    bench.source.topic_problem = "it does not exist"
    assert [bench.holding(cause) for cause in ("store", "dead_letters", "topic")] == [0, 1, 1]
