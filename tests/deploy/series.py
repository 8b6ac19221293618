"""Series of samples in the notation of promtool's unit tests."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING

from deploy.checks import rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.core import Metric


def names_in_rules() -> set[str]:
    """The names of all series that the rules select, and that no rule records."""
    all_rules = [rule for group in rules.load_rule_file()["groups"] for rule in group["rules"]]
    named = {name for rule in all_rules for name in re.findall(r"\b([a-z_]\w+)\{", rule["expr"])}
    return named - {rule.get("record") for rule in all_rules}


class Recorder:
    """Keeps the samples of the series that the rules select, one for each scrape."""

    def __init__(self) -> None:
        self._names = names_in_rules()
        self._series: dict[str, list[float | None]] = {}
        self._scrapes = 0

    @property
    def names(self) -> set[str]:
        """The names of the series that were recorded."""
        return {key.partition("{")[0] for key in self._series}

    def begin_scrape(self) -> None:
        """Let the next samples be of one time."""
        self._scrapes += 1

    def record(self, name: str, labels: Mapping[str, str], value: float) -> None:
        """Record a sample of this scrape, if a rule selects it."""
        if name not in self._names:
            return
        matchers = ", ".join(f'{label}="{text}"' for label, text in labels.items())
        key = f"{name}{{{matchers}}}"
        values = self._series.setdefault(key, [])
        values += [None] * (self._scrapes - 1 - len(values))
        values.append(value)

    def record_families(self, families: Iterable[Metric], labels: Mapping[str, str]) -> None:
        """Record all samples of what a registry or a collector collects."""
        for family in families:
            for sample in family.samples:
                self.record(sample.name, {**labels, **sample.labels}, sample.value)

    def to_promtool(self) -> list[dict[str, str]]:
        """The `input_series` of a test."""
        return [{"series": key, "values": " ".join(self._notate(values))} for key, values in self._series.items()]

    def _notate(self, values: list[float | None]) -> Iterator[str]:
        """Runs of equal values are short. Where a series ends, Prometheus writes a marker: `stale`."""
        ended = len(values) < self._scrapes
        for value, run in groupby(values):
            count = len(list(run))
            yield f"{'_' if value is None else f'{value:.12g}'}x{count - 1}"
        if ended:
            yield "stale"
