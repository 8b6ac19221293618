"""The types of the columns that the worker writes."""

import re
from collections.abc import Iterator, Mapping

COLUMN_TYPES = {
    "execution_id": "String",
    "agent_name": "String",
    "user_id": "Nullable(String)",
    "labels": "Map(String, String)",
    "metric_type": "String",
    "metric_value": "Float64",
    "completed_at": "DateTime64(3, 'UTC')",
    "version": "UInt128",
    "source_topic": "String",
    "source_partition": "Int32",
}
_LOW_CARDINALITY = re.compile(r"LowCardinality\(((?:[^()]|\([^()]*\))*)\)")


def type_differences(types: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each column that `types`, by name, lacks or has with another type; LowCardinality is ignored."""
    for name, expected in COLUMN_TYPES.items():
        found = types.get(name)
        if found is None:
            yield f"column {name} is missing; it should be {expected}"
        elif _LOW_CARDINALITY.sub(r"\1", found) != expected:
            yield f"column {name} is {found}; it should be {expected}"
