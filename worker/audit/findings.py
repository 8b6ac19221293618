"""The results of an audit."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

FindingKind = Literal["missing", "different"]
"""Missing: neither in the view nor a dead letter. Different: in the view with other contents."""


class AuditFinding(NamedTuple):
    """A metric of a source record, or (`metric` is None) the whole record, that is not where it must be.

    `execution_id` is None where the record is not an event.
    """

    kind: FindingKind
    partition: int
    offset: int
    execution_id: str | None
    metric: str | None
    detail: str


@dataclass
class AuditCounts:
    """The sums of an audit.

    Attributes:
        records: all that were read, `tombstones` and `events` included.
        expired: offsets before the start of the log, which retention or DeleteRecords has deleted; without an offset to
            start at, only those that the workers have not committed.
        gone: offsets of the range without a record: compaction, or retention during the audit, has deleted it, or there
            never was one.
        in_view: metrics whose own row is in the view.
        superseded: metrics for which the view has the row of a newer event.
        dead_lettered: metrics and whole records that have a dead letter.
        discarded: metrics and whole records whose dead letter was given up, by the reason.
        edited: metrics and whole records whose dead letter was replayed with another event: what was sent is not in the
            view, or not as it was sent.
        skipped: metrics, by JSON type.
    """

    records: int = 0
    tombstones: int = 0
    events: int = 0
    expired: int = 0
    gone: int = 0
    in_view: int = 0
    superseded: int = 0
    dead_lettered: int = 0
    discarded: Counter[str] = field(default_factory=Counter)
    edited: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    missing: int = 0
    different: int = 0

    @property
    def all_found(self) -> bool:
        """Whether nothing is missing or different."""
        return not (self.missing or self.different)
