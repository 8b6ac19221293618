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

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
SELECTED = '{job="metrics-worker", namespace=~"$namespace"}'
_WINDOW = "[$__rate_interval]"


def selected(name: str, **labels: str) -> str:
    """The series of a name that the reader's choice of namespaces covers."""
    others = "".join(f', {label}="{value}"' for label, value in labels.items())
    return f"{name}{SELECTED[:-1]}{others}}}"


def rate(name: str, by: str = "", **labels: str) -> str:
    """Of a counter, over all workers together: how much each second, perhaps by a label."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({selected(name, **labels)}{_WINDOW}))"


def quantiles(name: str) -> dict[str, str]:
    """Of a histogram, over all workers together: legend to query."""
    buckets = rate(f"{name}_bucket", by="le")
    return {f"{percent} %": f"histogram_quantile({percent / 100}, {buckets})" for percent in (50, 95, 99)}


def figure(
    title: str,
    description: str,
    query: str,
    unit: str,
    *,
    bad: float | None = None,
    words: tuple[str, str] | None = None,
) -> stat.Panel:
    """One number, red from `bad` on; with `words`, the first stands for 0 and the second for 1."""
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(_query("A", query, ""))
        .unit(unit)
        .span(4)
        .height(4)
        .no_value("no data")
        .color_mode(common.BigValueColorMode.NONE if bad is None else common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.AREA if words is None else common.BigValueGraphMode.NONE)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(bad))
    )
    if words is None:
        return panel
    options = {str(number): models.ValueMappingResult(text=word) for number, word in enumerate(words)}
    return panel.mappings([models.ValueMap(options=options)])


def graph(
    title: str, description: str, queries: Mapping[str, str], unit: str, *, width: int = 12, bad: float | None = None
) -> timeseries.Panel:
    """Lines over time: a legend, in Grafana's notation, to each query; a red line at `bad`."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
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
        .thresholds(_thresholds(bad))
    )
    if bad is not None:
        panel = panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
        )
    for number, (legend, query) in enumerate(queries.items()):
        panel = panel.with_target(_query(chr(ord("A") + number), query, legend))
    return panel


def _query(ref: str, query: str, legend: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(ref).expr(query).legend_format(legend).range().datasource(SOURCE)


def _thresholds(bad: float | None) -> dashboard_builders.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="green")]
    if bad is not None:
        steps.append(models.Threshold(value=bad, color="red"))
    return dashboard_builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
