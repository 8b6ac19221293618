"""Builders of the panels of the analysts' dashboard, and of their queries: those of schemas/QUERIES.md.

The macros and the fields of a query are those of the plugin grafana-clickhouse-datasource
(https://github.com/grafana/clickhouse-datasource, pkg/macros/macros.go and src/types/sql.ts of 4.20.0).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models import dashboard as models

from deploy.cookbook import recipes, with_time_range
from deploy.grafana.layout import empty_timeseries_panel, thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grafana_foundation_sdk.builders import timeseries

DATA_SOURCE = models.DataSourceRef(type_val="grafana-clickhouse-datasource", uid="${datasource}")
VARIABLES = {"agent": "'agent-07'", "user": "'user-7'", "metric": "'input_tokens'"}
"""What stands in the queries of the document in place of each variable of the dashboard."""
_QUERIES = {name: recipe.text for name, recipe in recipes().items()}
_PLUGIN_VERSION = "4.20.0"
_TABLE, _TIME_SERIES = (1, "table"), (0, "timeseries")
"""Number and name of the format of an answer."""


class ClickHouseQuery(Builder[UnknownDataquery]):
    """A query of the ClickHouse data source, for which the SDK has no builder."""

    def __init__(self, sql: str, result: tuple[int, str]) -> None:
        self._sql = sql
        self._format, self._query_type = result

    def build(self) -> UnknownDataquery:
        """Return the query."""
        return UnknownDataquery(
            {
                "datasource": DATA_SOURCE.to_json(),
                "editorType": "sql",
                "format": self._format,
                "pluginVersion": _PLUGIN_VERSION,
                "queryType": self._query_type,
                "rawSql": self._sql,
                "refId": "A",
            }
        )


def cookbook_query(name: str) -> str:
    """The query `name` of the document, with the time range and the variables of the dashboard in place of examples.

    Raises:
        ValueError: the query has dates that are no range of time.
    """
    text = with_time_range(_QUERIES[name], "$__fromTime", "$__toTime").strip()
    for variable, example in VARIABLES.items():
        text = text.replace(example, f"${{{variable}:singlequote}}")
    return text


def table_panel(
    title: str,
    description: str,
    name: str,
    units: Mapping[str, str],
    *,
    width: int = 12,
    height: int = 8,
) -> table.Panel:
    """The answer to the query `name` as a table; `units` by column, "short" for the others."""
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .with_target(ClickHouseQuery(cookbook_query(name), _TABLE))
        .unit("short")
        .span(width)
        .height(height)
        .no_value("no data")
        .thresholds(thresholds(None))
    )
    for column, unit in units.items():
        panel = panel.override_by_name(column, [models.DynamicConfigValue(id_val="unit", value=unit)])
    return panel


def daily_panel(title: str, description: str, name: str, column: str) -> timeseries.Panel:
    """One column of the answer to the query `name`, by its column `day`."""
    panel = empty_timeseries_panel(title, description, DATA_SOURCE, "short", width=12, threshold=None)
    only = models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": ["day", column]}})
    return panel.with_target(ClickHouseQuery(cookbook_query(name), _TIME_SERIES)).with_transformation(only)
