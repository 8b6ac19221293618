"""The dashboard of analysts: what agents did, what it cost, what failed, and whether the data are complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.cookbook_panels import DATA_SOURCE, cookbook_query, daily_panel, table_panel
from deploy.grafana.layout import add_rows, encode, new_dashboard

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.table import Panel as TablePanel
    from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel

_USD, _RATIO, _MILLISECONDS = "currencyUSD", "percentunit", "ms"
METRICS = f"SELECT metric_type FROM (\n{cookbook_query('which_metrics')}\n)"  # noqa: S608 - the cookbook's
AGENTS = "SELECT DISTINCT agent_name FROM execution_metrics_per_day ORDER BY agent_name"


def dashboard_json() -> str:
    """Return the dashboard as JSON for Grafana's import, with a final line break."""
    dashboard = (
        new_dashboard(
            "Agent executions",
            "execution-metrics",
            "What agents did and what it cost. The queries are those of schemas/QUERIES.md.",
        )
        .time("now-7d", "now")
        .with_variable(builders.DatasourceVariable("datasource").label("ClickHouse").type(str(DATA_SOURCE.type_val)))
        .with_variable(_query_variable("agent", "Agent", AGENTS))
        .with_variable(_query_variable("metric", "Metric", METRICS))
        .with_variable(builders.TextBoxVariable("user").label("User"))
    )
    return encode(add_rows(dashboard, _panels_by_row()))


def _query_variable(name: str, label: str, query: str) -> builders.QueryVariable:
    refresh = models.VariableRefresh.ON_TIME_RANGE_CHANGED
    return builders.QueryVariable(name).label(label).datasource(DATA_SOURCE).query(query).refresh(refresh)


def _panels_by_row() -> dict[str, list[TablePanel] | list[TimeseriesPanel]]:
    return {
        "Agents": _agent_panels(),
        "The chosen metric": _metric_panels(),
        "Cost": _cost_panels(),
        "Executions": _execution_panels(),
        "Is the data complete?": _completeness_panels(),
    }


def _agent_panels() -> list[TablePanel]:
    return [
        table_panel("Last hour", "Executions that ended in the last hour.", "last_hour", {}),
        table_panel(
            "This week against the last",
            "The last seven full days against the seven before. Not of the range of the dashboard.",
            "week_on_week",
            {"cost_usd": _USD, "cost_usd_before": _USD, "change": _RATIO},
        ),
        table_panel("Success", "Of executions that say whether they succeeded; whole days in UTC.", "success_rate",
                    {"success_rate": _RATIO}),
        table_panel("Duration", "The slowest hundredth of an agent's executions takes longer than p99.",
                    "p99_per_agent", {"p99": _MILLISECONDS}),
    ]  # fmt: skip


def _metric_panels() -> list[TimeseriesPanel]:
    return [
        daily_panel("Sum per day", "Of all agents; days in UTC.", "per_day", "total"),
        daily_panel("Executions per day", "That have the metric.", "per_day", "executions"),
    ]


def _cost_panels() -> list[TablePanel]:
    cost, costs = {"cost_usd": _USD}, {"cost_usd": _USD, "cost_of_one": _USD}
    return [
        table_panel("By model", "Label gen_ai.request.model.", "cost_by_model", costs),
        table_panel("By release", "Label service.version; since its first execution in the range.",
                    "cost_by_release", costs),
        table_panel("By user", "The twenty with the highest cost.", "cost_per_user", cost),
        table_panel("Of failures", "Executions that failed, by the label error.type.", "cost_of_failures", cost),
    ]  # fmt: skip


def _execution_panels() -> list[TablePanel]:
    return [
        table_panel("Slowest", "The ten slowest executions of all agents.", "slowest",
                    {"execution_time_ms": _MILLISECONDS}, width=24),
        table_panel("Latest of the chosen agent", "In the last seven days.", "executions_of_agent",
                    {"execution_time_ms": _MILLISECONDS}),
        table_panel("Latest of the chosen user", "Of any time. Write the user into the field above.",
                    "executions_of_user", {"cost_usd": _USD}),
    ]  # fmt: skip


def _completeness_panels() -> list[TablePanel]:
    return [
        table_panel("Silent agents", "Nothing since the day before yesterday.", "silent_agents", {}, width=8),
        table_panel("Metrics that stopped", "Not seen for three days, by agent.", "stopped_arriving", {}, width=8),
        table_panel("Late", "More than an hour from the execution to Kafka, or from there to ClickHouse.",
                    "late", {"most_seconds_to_kafka": "s"}, width=8),
        table_panel("Counted twice", "Executions with two agents or days: sums contain both.", "counted_twice", {}),
        table_panel("Metrics there are", "Of all time.", "which_metrics", {}),
    ]  # fmt: skip
