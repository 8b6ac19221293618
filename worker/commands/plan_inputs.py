"""Reads what a plan needs of Kafka and ClickHouse, and says where each number comes from."""

import asyncio
from collections.abc import Sequence
from time import time
from typing import NamedTuple

import click

from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.table_check import StoredTable, find_stored_table
from worker.clickhouse.table_storage import fetch_disk_usage
from worker.commands.connections import open_reader
from worker.core.errors import DependencyError, StoreError
from worker.core.model import Record
from worker.kafka.topic_rate import RATE_SECONDS, fetch_rate
from worker.kafka.topic_reader import KafkaTopicReader
from worker.planning.inputs import (
    ASSUMED_BYTES_PER_ROW,
    ASSUMED_SERVER_WINDOW,
    ASSUMED_WINDOW,
    REPLICATED_WINDOW_SECONDS,
    Input,
    PlanInputs,
)
from worker.planning.measurement import measure
from worker.planning.sample import Sample, sample_topic
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable
from worker.settings.targets import kafka_target


class Given(NamedTuple):
    """What the options of the command replace; None is to be read from Kafka."""

    rate: int | None
    partitions: int | None
    lag: int | None


class TableFacts(NamedTuple):
    """What ClickHouse tells about the table, or what is assumed; see `PlanInputs`."""

    window: Input
    window_seconds: float | None
    bytes_per_row: Input


class TopicFacts(NamedTuple):
    """What Kafka tells about the topic, each with its source; the records are a sample."""

    records: Sequence[Record]
    rate: Input
    partitions: Input
    lag: Input


def read_topic(settings: Settings, given: Given, *, with_sample: bool) -> TopicFacts:
    """What Kafka tells about the topic, and the options in place of it. Reads Kafka only if something is missing.

    Raises:
        DependencyError: Kafka cannot be reached, or refuses, and a sample or the rate is missing.
        UsageError: the rate is known neither from Kafka nor from an option.
    """
    if with_sample or None in given:
        facts = _read_if_reachable(settings, given, with_sample=with_sample)
    else:
        facts = _unknown("not asked")
    facts = facts._replace(
        rate=facts.rate if given.rate is None else Input(given.rate, "--rate"),
        partitions=facts.partitions if given.partitions is None else Input(given.partitions, "--partitions"),
        lag=facts.lag if given.lag is None else Input(given.lag, "--lag"),
    )
    if facts.rate.value is None:
        raise click.UsageError(f"the rate is not known ({facts.rate.source}): set --rate")
    return facts


def _read_if_reachable(settings: Settings, given: Given, *, with_sample: bool) -> TopicFacts:
    if not settings.kafka_bootstrap_servers:
        return _unknown(f"{RequiredVariable.KAFKA} is not set")
    try:
        return asyncio.run(_read(settings, given, with_sample=with_sample))
    except DependencyError as error:
        if with_sample or given.rate is None:
            raise
        return _unknown(str(error))


def _unknown(reason: str) -> TopicFacts:
    return TopicFacts((), Input(None, reason), Input(None, reason), Input(None, reason))


async def _read(settings: Settings, given: Given, *, with_sample: bool) -> TopicFacts:
    topic, group = settings.kafka_topic, settings.kafka_group_id
    # Without a group no right on it is needed.
    reader = KafkaTopicReader(kafka_target(settings), topic, group if given.lag is None else None)
    async with open_reader(reader):
        # First the committed offsets: so none of them is beyond the end of its partition.
        committed = await reader.fetch_committed_offsets()
        ranges = await reader.fetch_offset_ranges()
        rate = await fetch_rate(reader, ranges, int(time() * 1_000)) if given.rate is None else None
        records = await sample_topic(reader, ranges) if with_sample else ()
    lag = sum(_count_waiting(offsets, committed.get(number, 0)) for number, offsets in ranges.items())
    return TopicFacts(
        records,
        Input(rate, f"topic {topic}, the last {RATE_SECONDS} s")
        if rate is not None
        else Input(None, "Kafka's answer about times contradicts the records"),
        Input(len(ranges), f"topic {topic}"),
        Input(lag, f"group {group}" if committed else f"group {group} has committed nothing: all records of the topic"),
    )


def _count_waiting(offsets: range, committed: int) -> int:
    return len(range(max(offsets.start, committed), offsets.stop))


def read_table(settings: Settings) -> TableFacts:
    """What ClickHouse tells about the table, and what is assumed where it tells nothing."""
    if not settings.clickhouse_host:
        return _assumed_table(f"{RequiredVariable.CLICKHOUSE} is not set")
    target, source = clickhouse_target(settings), f"table {settings.qualified_table}"
    try:
        table = find_stored_table(target)
    except StoreError as error:
        return _assumed_table(str(error.outcome))
    if table is None:
        return _assumed_table(f"ClickHouse has no {source}, or does not show it to this user")
    window = table.deduplication_window
    return TableFacts(
        Input(ASSUMED_SERVER_WINDOW, f"assumed: {source} leaves it to the server")
        if window is None and table.is_replicated
        else Input(window or 0, source),
        REPLICATED_WINDOW_SECONDS if table.is_replicated else None,
        _read_bytes_per_row(target, table, source),
    )


def _assumed_table(reason: str) -> TableFacts:
    return TableFacts(
        Input(ASSUMED_WINDOW, f"assumed, as `migrate` sets it: {reason}"), None, _assumed_bytes_per_row(reason)
    )


def _read_bytes_per_row(target: ClickHouseTarget, table: StoredTable, source: str) -> Input:
    try:
        usage = fetch_disk_usage(target, table)
    except StoreError as error:
        return _assumed_bytes_per_row(str(error.outcome))
    if not usage.rows:
        return _assumed_bytes_per_row(f"{source} has no rows")
    return Input(usage.bytes / usage.rows, f"{source}, {usage.rows:,} rows")


def _assumed_bytes_per_row(reason: str) -> Input:
    return Input(ASSUMED_BYTES_PER_ROW, f"assumed, the most that was measured: {reason}")


def gather_inputs(settings: Settings, sample: Sample, facts: TopicFacts) -> PlanInputs:
    """Measure a sample of one record or more, and read the table."""
    table = read_table(settings)
    return PlanInputs(
        sample=sample,
        measurement=measure(sample.records, settings.event_policy),
        events_per_second=facts.rate,
        partitions=facts.partitions,
        lag=facts.lag,
        window=table.window,
        window_seconds=table.window_seconds,
        retry_seconds=settings.retry_max_seconds + settings.clickhouse_timeout_seconds,
        bytes_per_row=table.bytes_per_row,
        policy=settings.batch,
    )
