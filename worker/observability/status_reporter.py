"""The status of a worker and its gauges, read from its parts, in the threads of the HTTP server."""

from collections.abc import Iterable
from functools import partial
from time import monotonic, time
from typing import Protocol

from worker.core.heartbeat import Heartbeat
from worker.core.hold import TOPIC, Cause, Hold
from worker.observability.lag import PartitionLag
from worker.observability.status import GROUP, Status
from worker.observability.telemetry import Telemetry

FAILING_SECONDS = 10.0
"""A worker whose INSERT has failed for so long is not ready, whatever is left of the retry budget."""
_MAX_REASON_LENGTH = 500


class ObservedTopic(Protocol):
    """What the status says about the topic that is read, and the consumer group."""

    @property
    def topic(self) -> str:
        """Its name."""

    @property
    def is_group_member(self) -> bool:
        """Whether the worker is a member of the group now."""

    @property
    def has_been_group_member(self) -> bool:
        """Whether it has ever been one."""

    @property
    def lag(self) -> Iterable[PartitionLag]:
        """The lag of each owned partition for which it is known."""

    @property
    def topic_problem(self) -> str | None:
        """Why the topic cannot be read; None while it exists."""

    @property
    def retention_seconds(self) -> float | None:
        """How long Kafka keeps a record, as `TopicMonitor` has it."""


class StatusReporter:
    """Reports what the parts of a worker say of themselves. `group` is the name of the consumer group.

    `notice` is what an operator must know of this worker, whatever its state.
    """

    def __init__(
        self,
        version: str,
        group: str,
        source: ObservedTopic,
        telemetry: Telemetry,
        hold: Hold,
        heartbeat: Heartbeat,
        notice: str | None = None,
    ) -> None:
        self._version = version
        self._group = group
        self._source = source
        self._telemetry = telemetry
        self._hold = hold
        self._heartbeat = heartbeat
        self._notice = notice
        self._started = time()

    def report(self) -> Status:
        """Take a snapshot."""
        activity = self._telemetry.activity
        return Status(
            version=self._version,
            topic=self._source.topic,
            group=self._group,
            started=self._started,
            now=time(),
            reasons=self._find_reasons(),
            silence_seconds=monotonic() - self._heartbeat.last,
            has_been_group_member=self._source.has_been_group_member,
            lags=tuple(self._source.lag),
            rates=activity.rates,
            totals=activity.totals,
            last_dead_letters=activity.last_dead_letters,
            most_skipped=activity.most_skipped,
            clickhouse_servers=sorted(self._telemetry.read_servers_in_use()),
            notice=self._notice,
        )

    def set_gauges(self) -> None:
        """Let Prometheus read the hold, the heartbeat and the lag at each scrape."""
        holding = self._telemetry.state.holding
        for cause in Cause:
            holding.labels(cause.value).set_function(partial(self._is_held, cause))
        holding.labels(TOPIC).set_function(lambda: float(self._source.topic_problem is not None))
        self._telemetry.set_sources(
            self._version,
            lambda: self._heartbeat.last,
            lambda: self._source.lag,
            lambda: (self._source.topic, self._source.retention_seconds),
        )

    def _is_held(self, cause: Cause) -> float:
        return float(cause in self._hold.reasons)

    def _find_reasons(self) -> dict[str, str]:
        """Why the worker is not ready, by cause."""
        reasons = {cause.value: reason for cause, reason in self._hold.reasons.items()}
        if Cause.STORE.value not in reasons and (reason := self._find_failing_insert()):
            reasons[Cause.STORE.value] = reason
        if problem := self._source.topic_problem:
            reasons[TOPIC] = problem
        if not self._source.is_group_member:
            reasons[GROUP] = (
                "not a member of the consumer group: it waits for ClickHouse or the coordinator of the group"
            )
        return reasons

    def _find_failing_insert(self) -> str | None:
        """Why the worker is not ready though it does not hold: an INSERT fails, or has no answer, within its budget."""
        seconds, error = max(self._telemetry.unanswered.oldest(), self._telemetry.in_flight.oldest())
        if seconds < FAILING_SECONDS:
            return None
        return f"an INSERT has been failing for {seconds:.0f} s: {error}"[:_MAX_REASON_LENGTH]
