"""The tables of all variables, one per theme, for deploy/CONFIGURATION.md.

`python -m deploy.settings_table deploy/CONFIGURATION.md` writes them there.
"""

import sys
from enum import Enum
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from deploy.markers import replace_between
from worker.settings.errors import describe_expected, field_type, variable_name
from worker.settings.fields import Settings
from worker.settings.loading import RequiredVariable

BEGIN = "<!-- settings:begin -->"
END = "<!-- settings:end -->"

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
}
"""The heading of each table by its first field; the fields that follow belong to it too."""


def render_tables() -> str:
    """All variables as Markdown tables with headings, without a line break at the end."""
    lines: list[str] = []
    for name, field in Settings.model_fields.items():
        if name in THEMES:
            lines += ["", f"## {THEMES[name]}", "", "| Variable | Default | Allowed | Meaning |", "|---|---|---|---|"]
        lines.append(_row(variable_name(name), field))
    return "\n".join([*lines, ""])


def replace_tables(document: str) -> str:
    """Put the tables between the two markers in `document`; raises ValueError if it lacks them."""
    return replace_between(document, BEGIN, END, render_tables())


def _row(name: str, field: FieldInfo) -> str:
    also = f" (also `{name}_FILE`)" if field_type(field) is SecretStr else ""
    cells = (f"`{name}`{also}", _format_default(name, field), describe_expected(field), field.description or "")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _format_default(name: str, field: FieldInfo) -> str:
    if name in set(RequiredVariable):
        return "**required**"
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["default"])
    value = field.default
    if value is None or isinstance(value, SecretStr):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value.value if isinstance(value, Enum) else value}`"


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(replace_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
