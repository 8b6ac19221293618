"""Reads the dead-letter topic; committed offsets of a group without members keep the progress of replays."""

from collections.abc import Mapping

from aiokafka.structs import OffsetAndMetadata

from worker.dead_letters.progress import ReplayProgress, merge_progress
from worker.kafka.topic_reader import KafkaTopicReader
from worker.ports import DeadLetterReader


class KafkaDeadLetterReader(KafkaTopicReader, DeadLetterReader):
    """The `DeadLetterReader` of `worker.ports`; what `group_id` has committed, with its metadata, is the progress."""

    async def load_progress(self) -> Mapping[int, ReplayProgress]:
        """See `worker.ports.DeadLetterReader`."""
        committed = await self._fetch_committed()
        return {number: ReplayProgress.parse(saved.offset, saved.metadata or "") for number, saved in committed.items()}

    async def save_progress(self, progress: Mapping[int, ReplayProgress], stale: Mapping[int, ReplayProgress]) -> None:
        """See `worker.ports.DeadLetterReader`."""
        saved = await self.load_progress()
        merged = {
            number: merge_progress(done, saved.get(number), stale.get(number)) for number, done in progress.items()
        }
        await self._commit(
            {number: OffsetAndMetadata(done.first_open, done.encode()) for number, done in merged.items()}
        )
