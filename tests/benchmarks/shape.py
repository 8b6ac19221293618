"""What the benchmarks vary in an event."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Shape:
    """One kind of event, and of its Kafka record.

    Attributes:
        metrics: numbers in each event.
        gen_ai: whether metrics have the names of OpenTelemetry's GenAI conventions and of Langfuse, and not ours.
        strings, booleans, lists: how many more metrics of these types stand among the numbers.
        whole: share of the decimals that are whole numbers and written as such, as JavaScript does.
        nulls: share of the events that have null in place of one number.
        missing: chance that an event lacks a metric, for each of its metrics.
        name_sets: number of different sets of names; an agent always sends the same one.
        shuffled: whether the metrics are in a random order in each event.
        non_ascii: whether the names of agents, users and metrics have letters beyond ASCII.
        random_names: share of the events whose metrics have names that no other event has.
        wide: share of the events that have a thousand metrics.
        padding: bytes of a field that the worker ignores.
        labels: number of labels, at most four; the model is the first.
        distinct_labels: whether the events have one more label, which is different in each.
        agents: number of different ones.
        users: number of different ones; 0 for events without a user.
        has_completed_at: whether the events have `completed_at`.
        local_times: whether `completed_at` has an offset from UTC, and microseconds.
        optional_fields: whether the events have `schema_version` and the fields that are not stored.
        months: in how many months the events were completed, in turns.
        keyed: whether the execution id is the key of the record.
        headers: number of headers, at most three; a CloudEvent has its own.
        cloudevent: the mode of the CloudEvent; empty for a plain event.
        poison: share of the events that have one metric below 0, which a constrained table refuses.
        refused: share of the events that have one more metric, `refused`, which is always below 0.
        random_times: share of the events that were completed at any time of the `time_range_days` before their record.
        max_age_days: `EVENT_MAX_AGE_DAYS` of the worker.
    """

    metrics: int = 10
    gen_ai: bool = False
    strings: int = 0
    booleans: int = 0
    lists: int = 0
    whole: float = 0.0
    nulls: float = 0.0
    missing: float = 0.0
    name_sets: int = 1
    shuffled: bool = False
    non_ascii: bool = False
    random_names: float = 0.0
    wide: float = 0.0
    padding: int = 0
    labels: int = 0
    distinct_labels: bool = False
    agents: int = 20
    users: int = 5_000
    has_completed_at: bool = True
    local_times: bool = False
    optional_fields: bool = False
    months: int = 1
    keyed: bool = False
    headers: int = 0
    cloudevent: Literal["", "binary", "structured"] = ""
    poison: float = 0.0
    refused: float = 0.0
    random_times: float = 0.0
    time_range_days: int = 400
    max_age_days: int = 400

    @property
    def poisoned(self) -> bool:
        """Whether the table must be constrained."""
        return self.poison > 0 or self.refused > 0

    @property
    def has_dead_letters(self) -> bool:
        """Whether some metrics or events become dead letters."""
        return self.poisoned or (self.random_times > 0 and 0 < self.max_age_days < self.time_range_days)
