"""The dead letters of a replay that comes after one that was killed."""

from collections.abc import Sequence

from worker.core.errors import DeadLetterUnavailable
from worker.core.model import Failed, FailedMetric, ReplayedRecord
from worker.ports import DeadLetterSink
from worker.replay.supersessions import Supersessions, has_exact_header


class PartDeduplicator:
    """The `DeadLetterSink` of a replay: leaves out what a replay that was killed has put there already.

    Only the metrics of a whole event need that; the letter of a single metric is settled by the one in its place.
    """

    def __init__(self, dead_letters: DeadLetterSink, claims: Supersessions) -> None:
        self._dead_letters = dead_letters
        self._claims = claims

    async def write(self, failed: Sequence[Failed]) -> Sequence[int]:
        """See `worker.ports.DeadLetterSink`."""
        due = [position for position, item in enumerate(failed) if not self._stands(item)]
        try:
            pointers = await self._dead_letters.write([failed[position] for position in due])
        except DeadLetterUnavailable as error:
            unacknowledged, pointers = ([due[at] for at in some] for some in (error.unacknowledged, error.pointers))
            raise DeadLetterUnavailable(str(error), unacknowledged, pointers) from error
        return [due[position] for position in pointers]

    def _stands(self, item: Failed) -> bool:
        if not self._claims or not isinstance(item, FailedMetric):
            return False
        record = item.event.record
        if not isinstance(record, ReplayedRecord):
            return False
        whole = (record.replaces, (record.topic, record.partition, record.offset))
        return has_exact_header(item.metric) and self._claims.has_part(whole, item.metric)
