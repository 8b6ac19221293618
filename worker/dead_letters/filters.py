"""Which dead letters a command or a replay works on."""

from dataclasses import dataclass
from functools import cached_property

from worker.core.errors import ErrorClass
from worker.core.model import DeadLetterPosition
from worker.dead_letters.causes import FOREIGN, find_cause_id
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.value import parse_agent_name


@dataclass(frozen=True)
class DeadLetterFilter:
    """Criteria that a dead letter must meet, all of them. An empty or None criterion matches every dead letter.

    Of each set one value must match. `causes` are IDs (`worker.dead_letters.causes`). `since` (inclusive) and `until`
    (exclusive) are times of the last failure, in milliseconds since 1970; `partition` and `offset` are those on the
    dead-letter topic, and so are `positions`, of single dead letters.
    """

    causes: frozenset[str] = frozenset()
    error_classes: frozenset[ErrorClass] = frozenset()
    error_types: frozenset[str] = frozenset()
    error_codes: frozenset[int] = frozenset()
    metrics: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    partition: int | None = None
    offset: int | None = None
    positions: frozenset[DeadLetterPosition] = frozenset()

    @cached_property
    def matches_all(self) -> bool:
        """Whether no criterion is set."""
        return self == DeadLetterFilter()

    @cached_property
    def _matches_foreign(self) -> bool:
        """Whether there is no criterion but the position and the cause that foreign records have."""
        is_selected = not self.causes or FOREIGN in self.causes
        return is_selected and self == DeadLetterFilter(
            self.causes, partition=self.partition, offset=self.offset, positions=self.positions
        )

    def matches(self, letter: DeadLetter | ForeignRecord) -> bool:
        """Whether `letter` meets all criteria; a foreign record meets only those of position and cause.

        The agent is compared last: for it the value must be parsed.
        """
        if self.matches_all:
            return True
        position = letter.position
        if isinstance(letter, ForeignRecord):
            return self._matches_foreign and self._matches_position(position)
        return (
            (not self.error_classes or letter.failure.error_class in self.error_classes)
            and (not self.error_types or letter.failure.error_type in self.error_types)
            and (not self.error_codes or letter.failure.code in self.error_codes)
            and (not self.metrics or letter.metric in self.metrics)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and self._matches_position(position)
            and (not self.causes or find_cause_id(letter) in self.causes)
            and (not self.agents or parse_agent_name(letter) in self.agents)
        )

    def _matches_position(self, position: DeadLetterPosition) -> bool:
        return (
            (self.partition is None or position.partition == self.partition)
            and (self.offset is None or position.offset == self.offset)
            and (not self.positions or position in self.positions)
        )
