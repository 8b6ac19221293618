"""Panels in the one style of the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
LABEL_SELECTOR = '{job="metrics-worker", namespace=~"$namespace"}'
_WINDOW = "[$__rate_interval]"


def select_series(name: str, **labels: str) -> str:
    """The series of a name that the reader's choice of namespaces covers."""
    others = "".join(f', {label}="{value}"' for label, value in labels.items())
    return f"{name}{LABEL_SELECTOR[:-1]}{others}}}"


def rate(name: str, by: str = "", **labels: str) -> str:
    """Of a counter, over all workers together: how much each second, perhaps by a label."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({select_series(name, **labels)}{_WINDOW}))"


def quantiles(name: str) -> dict[str, str]:
    """Of a histogram, over all workers together: legend to query."""
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
    """One number, red from `threshold` on; with `value_texts`, the first stands for 0 and the second for 1."""
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
        .thresholds(_thresholds(threshold))
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
    """Lines over time: a legend, in Grafana's notation, to each query; a red line at `threshold`."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .unit(unit)
        .min(0)
        .span(width)
        .height(8)
        .line_width(2)
        .fill_opacity(8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .thresholds(_thresholds(threshold))
    )
    if threshold is not None:
        panel = panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        )
    for number, (legend, query) in enumerate(queries.items()):
        panel = panel.with_target(_query(chr(ord("A") + number), query, legend))
    return panel


def _query(ref: str, query: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).expr(query).legend_format(legend).range().datasource(DATA_SOURCE)


def _thresholds(threshold: float | None) -> dashboard_builders.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    if threshold is not None:
        steps.append(models.Threshold(value=threshold, color="red"))
    return dashboard_builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
