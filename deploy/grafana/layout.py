"""What both dashboards share: the frame, rows of panels, lines over time, thresholds, and the JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grafana_foundation_sdk.cog.builder import Builder


def new_dashboard(title: str, uid: str, description: str) -> builders.Dashboard:
    """An empty dashboard in UTC; read-only in Grafana, because it is generated."""
    return (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["metrics-worker"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .timezone("utc")
    )


def add_rows(
    dashboard: builders.Dashboard, panels: Mapping[str, Sequence[Builder[models.Panel]]]
) -> builders.Dashboard:
    """Add a row for each title, and its panels."""
    for title, of_row in panels.items():
        dashboard = dashboard.with_row(builders.Row(title))
        for panel in of_row:
            dashboard = dashboard.with_panel(panel)
    return dashboard


def encode(dashboard: builders.Dashboard) -> str:
    """Return the dashboard as JSON for Grafana's import, with a final line break."""
    return JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build()) + "\n"


def empty_timeseries_panel(
    title: str, description: str, data_source: models.DataSourceRef, unit: str, *, width: int, threshold: float | None
) -> timeseries.Panel:
    """Lines over time without queries, with a dashed red line at `threshold`."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(data_source)
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
        .thresholds(thresholds(threshold))
    )
    if threshold is None:
        return panel
    return panel.thresholds_style(
        common_builders.GraphThresholdsStyleConfig().mode(common.GraphTresholdsStyleMode.DASHED)
    )


def thresholds(threshold: float | None) -> builders.ThresholdsConfig:
    """Green, and red from `threshold` on."""
    steps = [models.Threshold(value=None, color="green")]
    if threshold is not None:
        steps.append(models.Threshold(value=threshold, color="red"))
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
