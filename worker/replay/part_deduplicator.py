"""Writes the dead letters of a replay, without those that a killed replay has already written."""

from collections.abc import Sequence

from worker.core.errors import DeadLetterUnavailable
from worker.core.model import Failed, ReplayedRecord
from worker.ports import DeadLetterSink
from worker.replay.supersessions import Supersessions, fits_header


class PartDeduplicator:
    """The `DeadLetterSink` of a replay.

    Only metrics of a replayed event are deduplicated. A repeated dead letter of a single metric does no harm: both
    replace the same one, so that the second is superseded.
    """

    def __init__(self, dead_letters: DeadLetterSink, supersessions: Supersessions) -> None:
        self._dead_letters = dead_letters
        self._supersessions = supersessions

    async def write(self, failed: Sequence[Failed]) -> Sequence[int]:
        """See `worker.ports.DeadLetterSink`."""
        due = [index for index, item in enumerate(failed) if not self._is_written(item)]
        try:
            pointers = await self._dead_letters.write([failed[index] for index in due])
        except DeadLetterUnavailable as error:
            unacknowledged, pointers = ([due[at] for at in some] for some in (error.unacknowledged, error.pointers))
            raise DeadLetterUnavailable(str(error), unacknowledged, pointers) from error
        return [due[index] for index in pointers]

    def _is_written(self, item: Failed) -> bool:
        if not self._supersessions or item.metric is None:
            return False
        record = item.record
        if not isinstance(record, ReplayedRecord):
            return False
        event = (record.replaces, (record.topic, record.partition, record.offset))
        return fits_header(item.metric) and self._supersessions.has_part(event, item.metric)
