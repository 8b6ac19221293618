"""Counts what is skipped, in memory that does not grow with hostile names."""

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

from worker.core.model import SkippedItem
from worker.events.tolerant_json import json_type_name

Reason = TypeVar("Reason", bound=Hashable)

_MAX_NAMES = 1_000
MAX_NAME_LENGTH = 256
"""Characters; the rest of a name is cut off."""


class SkipCounter(dict[tuple[str | None, Reason], int]):
    """How often each name was skipped for each reason; names beyond a thousand are None."""

    def add(self, name: str, reason: Reason, number: int = 1) -> None:
        """Count what is skipped, `number` times."""
        pair: tuple[str | None, Reason] = name[:MAX_NAME_LENGTH], reason
        if pair not in self and len(self) >= _MAX_NAMES:
            pair = None, reason
        self[pair] = self.get(pair, 0) + number

    def by_reason(self) -> Counter[Reason]:
        """How many were skipped for each reason."""
        counts: Counter[Reason] = Counter()
        for (_, reason), number in self.items():
            counts[reason] += number
        return counts


def count_by_json_type(metrics: SkipCounter[type]) -> Counter[str]:
    """How many metrics were skipped, by JSON type."""
    return Counter({json_type_name(kind): number for kind, number in metrics.by_reason().items()})


def count_by_name(metrics: SkipCounter[type], labels: SkipCounter[str]) -> dict[SkippedItem, int]:
    """How often each metric and label was skipped, as far as names are counted."""
    items: dict[SkippedItem, int] = {}
    for (name, kind), number in metrics.items():
        if name is not None:
            items["metric", name, json_type_name(kind)] = number
    for (name, reason), number in labels.items():
        if name is not None:
            items["label", name, reason] = number
    return items
