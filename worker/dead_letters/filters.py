"""Which dead letters somebody means."""

from dataclasses import dataclass
from functools import cached_property

from worker.core.errors import ErrorClass
from worker.dead_letters.dead_letter import DeadLetter
from worker.dead_letters.value import parse_agent_name


@dataclass(frozen=True)
class DeadLetterFilter:
    """What a letter must be to be meant; what is empty or None does not matter. Without any, all of them are.

    Attributes:
        error_classes, error_codes, metrics, agents: one of each.
        since, until: milliseconds since 1970; when it last failed, the first included and the second not.
        partition, offset: where it stands on the dead-letter topic.
    """

    error_classes: frozenset[ErrorClass] = frozenset()
    error_codes: frozenset[int] = frozenset()
    metrics: frozenset[str] = frozenset()
    agents: frozenset[str] = frozenset()
    since: int | None = None
    until: int | None = None
    partition: int | None = None
    offset: int | None = None

    @cached_property
    def matches_all(self) -> bool:
        """Whether nothing is left out."""
        return self == DeadLetterFilter()

    def matches(self, letter: DeadLetter) -> bool:
        """Whether `letter` is meant. The agent comes last, because it stands in the value."""
        if self.matches_all:
            return True
        position = letter.position
        return (
            (not self.error_classes or letter.failure.error_class in self.error_classes)
            and (not self.error_codes or letter.failure.code in self.error_codes)
            and (not self.metrics or letter.metric in self.metrics)
            and (self.since is None or letter.failed_at >= self.since)
            and (self.until is None or letter.failed_at < self.until)
            and (self.partition is None or position.partition == self.partition)
            and (self.offset is None or position.offset == self.offset)
            and (not self.agents or parse_agent_name(letter) in self.agents)
        )
