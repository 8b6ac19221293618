"""Every variable in words: the rows of `metrics-worker variables` and of deploy/CONFIGURATION.md."""

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings.errors import describe_expected, field_type, variable_name
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

THEMES = {
    "kafka_bootstrap_servers": "Kafka: topics and consumer group",
    "kafka_security_protocol": "Kafka: encryption and authentication",
    "kafka_session_timeout_seconds": "Kafka: time-outs",
    "clickhouse_host": "ClickHouse: connection",
    "clickhouse_table": "ClickHouse: tables and inserts",
    "persistence_enabled": "Batches",
    "retry_attempts": "Retries and outages",
    "http_host": "Health, telemetry and logs",
    "shutdown_timeout_seconds": "Shutdown",
    "console_host": "Console",
}
"""The title of each theme by its first field; the fields that follow belong to it too."""


class VariableDescription(NamedTuple):
    """One variable; the names are the keys of the JSON output.

    Attributes:
        file: the variable that may name a file with the value instead; None if there is none.
        default: None if the variable is required, or not set by default.
        allowed: a valid value in words.
    """

    variable: str
    file: str | None
    theme: str
    required: bool
    default: str | None
    allowed: str
    meaning: str


def describe_variables() -> Iterator[VariableDescription]:
    """Every variable, in the order of the themes."""
    theme = ""
    for field_name, field in Settings.model_fields.items():
        theme, name = THEMES.get(field_name, theme), variable_name(field_name)
        required = name in set(RequiredVariable)
        yield VariableDescription(
            variable=name,
            file=f"{name}_FILE" if field_type(field) is SecretStr else None,
            theme=theme,
            required=required,
            default=None if required else _format_default(field),
            allowed=describe_expected(field),
            meaning=field.description or "",
        )


def _format_default(field: FieldInfo) -> str | None:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default"])
    value = field.default
    if value is None or isinstance(value, SecretStr):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value.value if isinstance(value, Enum) else value)
