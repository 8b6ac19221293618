"""Connects what replays to Kafka and ClickHouse.

Each method raises DependencyError if one of them cannot be reached, or is not prepared.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from worker.clickhouse.table_constraints import ClickHouseConstraints
from worker.commands.connections import create_journal, open_journal, open_reader
from worker.core.errors import DependencyError
from worker.core.outcome import OutcomeKind
from worker.dead_letters.settlement import Settlement
from worker.kafka.source_records import KafkaSourceRecordFetcher
from worker.kafka.topic_reader import KafkaTopicReader
from worker.observability.failure_log import FailureLog
from worker.observability.telemetry import Telemetry
from worker.outputs import open_outputs
from worker.pipeline import Pipeline
from worker.replay.edit_preview import EditPreview
from worker.replay.event_editor import EventEditor
from worker.replay.journal import Journal
from worker.replay.plan import ReplayPolicy
from worker.replay.replayer import Replayer
from worker.replay.scan import DeadLetterScan
from worker.replay.stop_conditions import WatchedHold
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.fields import Settings
from worker.settings.targets import kafka_target
from worker.writing.on_unavailable import OnUnavailable
from worker.writing.writer import Writer


class ReplayConnections:
    """Connects with the settings."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @asynccontextmanager
    async def open_scan(self) -> AsyncIterator[DeadLetterScan]:
        """Connect to the dead-letter topic, and read its settlements."""
        settings = self._settings
        async with open_reader(KafkaTopicReader(kafka_target(settings), settings.kafka_dlq_topic)) as reader:
            yield await DeadLetterScan.begin(reader)

    def open_journal(self, entry: Settlement) -> AbstractAsyncContextManager[Journal]:
        """Connect to the dead-letter topic, to append settlements like `entry` to it."""
        return open_journal(self._settings, entry)

    @asynccontextmanager
    async def open_edit_preview(self, policy: ReplayPolicy, editor: EventEditor) -> AsyncIterator[EditPreview]:
        """Build the preview of an edit."""
        settings = self._settings
        constraints = ClickHouseConstraints(clickhouse_target(settings))
        sources = KafkaSourceRecordFetcher(kafka_target(settings))
        try:
            yield EditPreview(policy, editor, sources, constraints)
        finally:
            constraints.close()
            await sources.close()

    @asynccontextmanager
    async def open_replay(
        self,
        scan: DeadLetterScan,
        policy: ReplayPolicy,
        entry: Settlement,
        editor: EventEditor | None,
        *,
        on_progress: Callable[[int], object],
        on_finishing: Callable[[float], object],
    ) -> AsyncIterator[Replayer]:
        """Build a replay, with its own writer. `entry` is that of its journal; for the functions see `Replayer`."""
        settings, telemetry, hold = self._settings, Telemetry(), WatchedHold()
        async with AsyncExitStack() as stack:
            store, sink, producer = await open_outputs(settings, 1, telemetry, stack)
            if (outcome := await store.probe()).kind is not OutcomeKind.WRITTEN:
                raise DependencyError(f"ClickHouse accepts no inserts: {outcome}")
            if problem := await sink.find_problem():
                raise DependencyError(problem)
            # Not the worker's ON_UNAVAILABLE: an outage must not turn a dead letter into another dead letter.
            writer = Writer(store, hold, telemetry, settings.retry, OnUnavailable.HOLD)
            stack.push_async_callback(writer.close)
            failure_log = FailureLog(users=settings.log_user_ids)
            pipeline = Pipeline(writer, sink, hold, telemetry, failure_log)  # the replay fans out
            sources = KafkaSourceRecordFetcher(kafka_target(settings))
            stack.push_async_callback(sources.close)
            yield Replayer(
                scan,
                create_journal(settings, producer, entry),
                sources,
                pipeline,
                hold,
                policy,
                editor=editor,
                on_progress=on_progress,
                stop_seconds=settings.drain_seconds_on_stop,
                on_finishing=on_finishing,
            )


def base_policy(settings: Settings) -> ReplayPolicy:
    """The policy of a replay of everything that these settings could have written."""
    return ReplayPolicy(
        table=settings.qualified_table, max_bytes=settings.batch_max_bytes, event_policy=settings.event_policy
    )
