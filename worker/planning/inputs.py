"""What a plan is made from, and where each part of it comes from."""

from typing import NamedTuple

from worker.batch_reader import BatchPolicy
from worker.planning.arithmetic import MEASURED_SHARE, EventCosts, Load, Plan, RetryProtection, make_plan
from worker.planning.measurement import Measurement
from worker.planning.sample import Sample

ASSUMED_BYTES_PER_ROW = 40.0
"""The most that was measured for the layout of the table: schemas/clickhouse/README.md, "Order and storage"."""
ASSUMED_WINDOW = 10_000
"""What schemas/clickhouse/0001_execution_metrics.sql sets."""
ASSUMED_SERVER_WINDOW = 1_000
"""For a replicated table that leaves it to the server, whose default depends on its version."""
REPLICATED_WINDOW_SECONDS = 3_600.0
"""For how long a replicated table remembers a token."""


class Input(NamedTuple):
    """A number, and in words where it comes from, or why it is not known."""

    value: float | None
    source: str


class PlanInputs(NamedTuple):
    """Everything that a plan is made from.

    Attributes:
        sample: what was measured.
        events_per_second, partitions, lag: see `Load`; the rate is known.
        window: blocks whose deduplication tokens are remembered; 0 if there is none.
        window_seconds: see `RetryProtection`.
        retry_seconds: see `RetryProtection`.
        bytes_per_row: on disk.
        policy: the limits of a batch now.
    """

    sample: Sample
    measurement: Measurement
    events_per_second: Input
    partitions: Input
    lag: Input
    window: Input
    window_seconds: float | None
    retry_seconds: float
    bytes_per_row: Input
    policy: BatchPolicy

    @property
    def costs(self) -> EventCosts:
        """What an event of the sample costs."""
        counts = self.measurement.counts
        return EventCosts(
            cpu_microseconds=self.measurement.cpu_microseconds / MEASURED_SHARE,
            rows=counts.rows / counts.records,
            record_bytes=counts.record_bytes / counts.records,
            block_bytes=counts.block_bytes / counts.records,
            disk_bytes_per_row=self.bytes_per_row.value or 0.0,
            inserts_per_batch=counts.inserts / counts.portions,
            parts_per_batch=counts.parts / counts.portions,
        )

    def plan(self) -> Plan:
        """The plan for them."""
        partitions, lag = self.partitions.value, self.lag.value
        load = Load(
            self.events_per_second.value or 0.0,
            None if partitions is None else int(partitions),
            None if lag is None else int(lag),
        )
        protection = RetryProtection(int(self.window.value or 0), self.window_seconds, self.retry_seconds)
        return make_plan(self.costs, load, self.policy, protection)
