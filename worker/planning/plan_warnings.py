"""What an operator should know before the workers run as planned."""

from collections.abc import Iterator

from worker.planning.arithmetic import MAX_PARTS_PER_SECOND, Plan
from worker.planning.inputs import PlanInputs


def find_warnings(inputs: PlanInputs, plan: Plan) -> Iterator[str]:
    """A sentence for each problem of the plan, or of the sample."""
    rate, partitions = inputs.events_per_second.value or 0.0, inputs.partitions.value
    if not rate:
        yield "no event came in that time, so this plan is for none: --rate sets what is to be expected"
    if partitions is not None and partitions < plan.wanted_workers:
        yield (
            f"the topic has {partitions:,.0f} partitions, so {plan.wanted_workers - plan.workers:,} of "
            f"{plan.wanted_workers:,} workers would get none: it needs {plan.partitions:,}"
        )
    if (capacity := plan.workers * plan.worker_capacity) < rate:
        yield f"{plan.workers:,} workers handle {capacity:,.0f} events a second at most: the lag would grow"
    yield from _batch_warnings(inputs, plan)
    yield from _sample_warnings(inputs)


def _batch_warnings(inputs: PlanInputs, plan: Plan) -> Iterator[str]:
    parts = plan.batches.parts_per_second
    if parts > MAX_PARTS_PER_SECOND:
        yield (
            f"{parts:,.0f} new parts a second are more than the {MAX_PARTS_PER_SECOND:g} that one ClickHouse merges: "
            "divide the stream into topics with a ClickHouse each (deploy/SCALE.md, Cells)"
        )
    elif (present := plan.present_batches).parts_per_second > MAX_PARTS_PER_SECOND:
        yield (
            f"with BATCH_LINGER_MS={present.linger_ms} and BATCH_MAX_EVENTS={present.max_events}, as set now, there "
            f"would be {present.parts_per_second:,.0f} new parts a second"
        )
    if not inputs.window.value:
        yield "the table has no deduplication window: an INSERT that is repeated stores its rows twice"
    elif plan.window_seconds < inputs.retry_seconds:
        yield (
            f"an INSERT may be repeated for {inputs.retry_seconds:,.0f} s, and ClickHouse remembers it for "
            f"{plan.window_seconds:,.0f} s: raise the deduplication window of the table"
        )


def _sample_warnings(inputs: PlanInputs) -> Iterator[str]:
    counts = inputs.measurement.counts
    if inputs.sample.too_long:
        yield f"{inputs.sample.too_long:,} lines are too long for the topic, and were left out"
    if counts.failed:
        yield (
            f"{counts.failed.total():,} dead letters of {counts.records:,} events ({_format(counts.failed)}): each "
            "costs about five times the CPU of an event, which is not in the plan; `metrics-worker validate` names them"
        )
    if counts.skipped:
        yield f"metrics that are no numbers are skipped: {_format(counts.skipped)} in {counts.records:,} events"
    if counts.skipped_labels:
        yield f"labels are skipped: {_format(counts.skipped_labels)} in {counts.records:,} events"


def _format(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
