"""What each error class means and what to do about it; deploy/RUNBOOK.md says more."""

from types import MappingProxyType
from typing import NamedTuple

from worker.core.errors import ErrorClass


class Advice(NamedTuple):
    """Meaning of an error class, and what an operator should do.

    `is_automatic`: a scheduled replay may do it without an operator, because nothing is wrong with the metric.
    """

    meaning: str
    to_do: str
    is_automatic: bool = False

    @property
    def instructions(self) -> str:
        """What to do, and whether it is safe to automate."""
        return f"{self.to_do} It is safe to automate." if self.is_automatic else self.to_do


ADVICE = MappingProxyType(
    {
        ErrorClass.INVALID_EVENT: Advice(
            "The record could not be read as an event: not JSON, not UTF-8, a field missing or wrong, or an unknown "
            "version.",
            "Correct the producer; dlq.error.type names the rule. Nothing of the event is in the table. If the worker "
            "was wrong and a newer one reads it, replay; else edit it by replay --edit, or discard it.",
        ),
        ErrorClass.INVALID_METRIC: Advice(
            "One metric is not a number that ClickHouse can store (NaN, Infinity, 1e400), or its name is not 1 to 256 "
            "characters. The other metrics of the event are rows.",
            "Correct the producer, then edit the dead letters by replay --edit, or discard them. A replay alone helps "
            "only after a change of the worker.",
        ),
        ErrorClass.ROW_REFUSED: Advice(
            "ClickHouse refused this one row: a constraint, a value, or a materialized view that throws; the message "
            "is ClickHouse's own. The other metrics of the event are rows.",
            "Find out which of the two is wrong. The table or view: alter it, then replay. The value: correct the "
            "producer, and edit the dead letter by replay --edit, or discard it.",
        ),
        ErrorClass.STORE_UNAVAILABLE: Advice(
            "ClickHouse was unreachable, overloaded or silent for longer than the retries lasted. Nothing is wrong "
            "with the metric.",
            "Wait until the worker is ready again, then replay.",
            is_automatic=True,
        ),
        ErrorClass.TOO_LARGE: Advice(
            "The dead letter did not fit its topic, so that only the position of the source record and a digest are "
            "here; the message has the error before that.",
            "Replay before the source topic's retention deletes the record. If it fails again it had two "
            "faults: correct the one in the message.",
        ),
    }
)
