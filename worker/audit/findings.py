"""What an audit found."""

from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID


class ViewRow(NamedTuple):
    """A row as the de-duplicated view shows it. Times are milliseconds since 1970, UTC."""

    metric: str
    agent_name: str
    execution_id: UUID
    value: float
    user_id: str | None
    completed_at: int
    recorded_at: int
    topic: str
    partition: int
    offset: int


class AuditFinding(NamedTuple):
    """Something that is not where it must be.

    Attributes:
        kind: `missing` (neither in the view nor a dead letter) or `different` (in the view with other contents).
        partition, offset: the source record.
        execution_id: None where the record is no event.
        metric: None where the whole record is meant.
        detail: in words.
    """

    kind: str
    partition: int
    offset: int
    execution_id: UUID | None
    metric: str | None
    detail: str


@dataclass
class AuditCounts:
    """How many there were of each.

    Attributes:
        records: that were looked at; `tombstones` and `events` are among them.
        gone: offsets of the range at which no record stands any more, by retention or compaction, or none ever did.
        in_view: metrics whose own row the view shows.
        superseded: metrics in whose place the view shows a younger event's.
        dead_lettered: metrics and whole records that have a dead letter.
        skipped: metrics, by JSON type.
        missing, different: see `AuditFinding`.
    """

    records: int = 0
    tombstones: int = 0
    events: int = 0
    gone: int = 0
    in_view: int = 0
    superseded: int = 0
    dead_lettered: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    missing: int = 0
    different: int = 0

    @property
    def all_found(self) -> bool:
        """Whether nothing is missing and nothing different."""
        return not (self.missing or self.different)
