"""Writes the dead letters of a replay, without those that a killed replay has already written."""

from collections.abc import Sequence

from worker.core.model import Failed, ReplayedRecord
from worker.ports import ACKNOWLEDGED, DeadLetterOutcome, DeadLetterSink
from worker.replay.supersessions import Supersessions, fits_header


class PartDeduplicator(DeadLetterSink):
    """The `DeadLetterSink` of a replay.

    Only metrics of a replayed event are deduplicated. A repeated dead letter of a single metric does no harm: both
    replace the same one, so that the second is superseded.
    """

    def __init__(self, dead_letters: DeadLetterSink, supersessions: Supersessions) -> None:
        self._dead_letters = dead_letters
        self._supersessions = supersessions

    async def write(self, failed: Sequence[Failed]) -> Sequence[DeadLetterOutcome]:
        """See `worker.ports.DeadLetterSink`."""
        is_written = [*map(self._is_written, failed)]
        due = [item for item, written in zip(failed, is_written, strict=True) if not written]
        outcomes = iter(await self._dead_letters.write(due))
        return [ACKNOWLEDGED if written else next(outcomes) for written in is_written]

    def _is_written(self, item: Failed) -> bool:
        if not self._supersessions or item.metric is None:
            return False
        record = item.record
        if not isinstance(record, ReplayedRecord):
            return False
        event = (record.replaces, (record.topic, record.partition, record.offset))
        return fits_header(item.metric) and self._supersessions.has_part(event, item.metric)
