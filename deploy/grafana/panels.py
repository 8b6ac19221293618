"""Builders of the panels of the operators' dashboard, and of their PromQL queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.layout import empty_timeseries_panel, thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WORKER, DLQ_WATCH = "metrics-worker", "metrics-worker-dlq-watch"
"""Jobs of Prometheus."""
_WINDOW = "[$__rate_interval]"


def select_series(name: str, *, job: str = WORKER, **labels: str) -> str:
    """Select the series `name` of a job in the namespaces and instances that the user has chosen."""
    others = "".join(f', {label}="{value}"' for label, value in labels.items())
    chosen = 'namespace=~"$namespace", app_kubernetes_io_instance=~"$worker"'
    return f'{name}{{job="{job}", {chosen}{others}}}'


def rate(name: str, by: str = "", **labels: str) -> str:
    """Query the rate per second of a counter, summed over all workers; `by` names labels to group by."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({select_series(name, **labels)}{_WINDOW}))"


def quantiles(name: str) -> dict[str, str]:
    """Query the 50th, 95th and 99th percentiles of a histogram over all workers: queries by legend."""
    buckets = rate(f"{name}_bucket", by="le")
    return {f"{percent} %": f"histogram_quantile({percent / 100}, {buckets})" for percent in (50, 95, 99)}


def stat_panel(
    title: str,
    description: str,
    query: str,
    unit: str,
    *,
    threshold: float | None = None,
    value_texts: tuple[str, str] | None = None,
) -> stat.Panel:
    """One number, red from `threshold` on; `value_texts` replace the values 0 and 1."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .with_target(_query("A", query, ""))
        .unit(unit)
        .span(4)
        .height(4)
        .no_value("no data")
        .color_mode(common.BigValueColorMode.NONE if threshold is None else common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.AREA if value_texts is None else common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(threshold))
    )
    if value_texts is None:
        return panel
    options = {str(number): models.ValueMappingResult(text=word) for number, word in enumerate(value_texts)}
    return panel.mappings([models.ValueMap(options=options)])


def timeseries_panel(
    title: str,
    description: str,
    queries: Mapping[str, str],
    unit: str,
    *,
    width: int = 12,
    threshold: float | None = None,
) -> timeseries.Panel:
    """Lines over time, with a red line at `threshold`; `queries` by legend, in Grafana's notation."""
    panel = empty_timeseries_panel(title, description, DATA_SOURCE, unit, width=width, threshold=threshold)
    for number, (legend, query) in enumerate(queries.items()):
        panel = panel.with_target(_query(chr(ord("A") + number), query, legend))
    return panel


def _query(ref: str, query: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).expr(query).legend_format(legend).range().datasource(DATA_SOURCE)
