"""The dashboard: is it well, how much flows, how long it takes, what fails.

`python -m deploy.grafana deploy/grafana/metrics-worker.json` writes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import DATA_SOURCE, quantiles, rate, select_series, stat_panel, timeseries_panel

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.stat import Panel as StatPanel
    from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel

_UNANSWERED = select_series("metrics_worker_oldest_unanswered_insert_seconds")
_INSERTS = "metrics_worker_inserts_total"


def dashboard_json() -> str:
    """The dashboard as Grafana imports it, with a line break at its end."""
    return JSONEncoder(sort_keys=True, indent=2).encode(_dashboard().build()) + "\n"


def _dashboard() -> builders.Dashboard:
    dashboard = (
        builders.Dashboard("Metrics worker")
        .uid("metrics-worker")
        .description("Agent-execution metrics from Kafka into ClickHouse. Red is what an alert says too.")
        .tags(["metrics-worker"])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-3h", "now")
        .refresh("30s")
        .timezone("utc")
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            builders.QueryVariable("namespace")
            .label("Namespace")
            .datasource(DATA_SOURCE)
            .query("label_values(metrics_worker_build_info, namespace)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".*")
            .multi(True)
        )
    )
    for title, panels in _panels_by_row().items():
        dashboard = dashboard.with_row(builders.Row(title))
        for panel in panels:
            dashboard = dashboard.with_panel(panel)
    return dashboard


def _panels_by_row() -> dict[str, list[StatPanel] | list[TimeseriesPanel]]:
    return {
        "Is it well?": _health_panels(),
        "What flows": _flow_panels(),
        "ClickHouse": _clickhouse_panels(),
        "Dead letters": _dead_letter_panels(),
        "Kafka and the process": [*_batch_panels(), *_process_panels()],
    }


def _health_panels() -> list[StatPanel]:
    return [
        stat_panel(
            "Consumption",
            "Whether any worker holds: takes no events until ClickHouse or the dead-letter topic is back.",
            f"max({select_series('metrics_worker_holding')})",
            "none",
            threshold=1,
            value_texts=("flows", "HOLDS"),
        ),
        stat_panel("Workers", "Those that Prometheus reaches.", f"sum({select_series('up')})", "none"),
        stat_panel(
            "Behind",
            "How long the oldest event that is not settled has waited.",
            f"max({select_series('metrics_worker_lag_seconds')})",
            "s",
            threshold=300,
        ),
        stat_panel("Events", "Read from Kafka.", rate("metrics_worker_events_total"), "reqps"),
        stat_panel("Rows", "Acknowledged by ClickHouse.", rate("metrics_worker_rows_written_total"), "wps"),
        stat_panel(
            "Dead letters, last hour",
            "Metrics that became no row, and records that could not be read.",
            f"sum(increase({select_series('metrics_worker_dead_letters_total')}[1h]))",
            "short",
            threshold=10,
        ),
    ]


def _flow_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Events, metrics and rows",
            "Each second. Metrics less rows are what was skipped or dead-lettered.",
            {
                "events": rate("metrics_worker_events_total"),
                "metrics": rate("metrics_worker_metrics_total"),
                "rows": rate("metrics_worker_rows_written_total"),
            },
            "cps",
        ),
        timeseries_panel(
            "Skipped",
            "Metrics that are not numbers, by JSON type, and records without a value; each second.",
            {
                "{{json_type}}": rate("metrics_worker_metrics_skipped_total", by="json_type"),
                "tombstones": rate("metrics_worker_tombstones_total"),
            },
            "cps",
        ),
        timeseries_panel(
            "Time behind, by partition",
            "Age of the oldest record that is not settled. The dashed line is where the alert begins.",
            {"{{topic}} {{partition}}": f"max by (topic, partition) ({select_series('metrics_worker_lag_seconds')})"},
            "s",
            width=8,
            threshold=300,
        ),
        timeseries_panel(
            "Records behind, by partition",
            "Records that are not settled.",
            {"{{topic}} {{partition}}": f"max by (topic, partition) ({select_series('metrics_worker_lag_records')})"},
            "short",
            width=8,
        ),
        timeseries_panel(
            "End to end",
            "From the timestamp of a record to the end of its batch.",
            quantiles("metrics_worker_end_to_end_seconds"),
            "s",
            width=8,
        ),
    ]


def _clickhouse_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Inserts by outcome",
            "Each second; with ClickHouse's code where there is one.",
            {"{{outcome}} {{code}}": rate(_INSERTS, by="outcome, code")},
            "ops",
            width=8,
        ),
        timeseries_panel(
            "Retries and splits",
            "Inserts that repeat one with the same rows, and blocks cut into pieces; each second.",
            {
                "retry after {{outcome}} {{code}}": rate("metrics_worker_insert_retries_total", by="outcome, code"),
                "split: {{reason}}": rate("metrics_worker_splits_total", by="reason"),
            },
            "ops",
            width=8,
        ),
        timeseries_panel(
            "Deduplication window in use",
            "How much of the 10,000 inserts that ClickHouse remembers has passed since the oldest unanswered insert.",
            {
                "by inserts": f"max({_UNANSWERED}) * "
                f"sum(rate({select_series(_INSERTS, outcome='written')}[10m])) / 10000",
                "by time (an hour, replicas only)": f"max({_UNANSWERED}) / 3600",
            },
            "percentunit",
            width=8,
            threshold=0.5,
        ),
        timeseries_panel(
            "Duration of inserts", "Failed ones included.", quantiles("metrics_worker_insert_seconds"), "s"
        ),
        timeseries_panel(
            "Rows of an insert",
            "Few rows for each insert make many parts for ClickHouse to merge.",
            quantiles("metrics_worker_insert_rows"),
            "short",
        ),
    ]


def _dead_letter_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Dead letters by class",
            "In the last five minutes. The runbook has a section for each class.",
            {
                "{{error_class}} ({{kind}})": "sum by (error_class, kind) "
                f"(increase({select_series('metrics_worker_dead_letters_total')}[5m]))"
            },
            "short",
        ),
        timeseries_panel(
            "Writing dead letters",
            "Until all of them are acknowledged, failed times included.",
            quantiles("metrics_worker_dead_letter_put_seconds"),
            "s",
        ),
    ]


def _batch_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Batches",
            "From decoding to the last acknowledgement.",
            quantiles("metrics_worker_batch_seconds"),
            "s",
            width=8,
        ),
        timeseries_panel(
            "Rebalances and failed commits",
            "In a quarter of an hour. A worker that starts or ends makes one or two.",
            {
                "rebalances": f"sum(increase({select_series('metrics_worker_rebalances_total')}[15m]))",
                "failed commits": f"sum(increase({select_series('metrics_worker_commit_failures_total')}[15m]))",
            },
            "short",
            width=8,
        ),
        timeseries_panel(
            "Partitions owned",
            "By worker. One with none has nothing to do.",
            {"{{pod}} {{instance}}": f"max by (pod, instance) ({select_series('metrics_worker_assigned_partitions')})"},
            "short",
            width=8,
        ),
    ]


def _process_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "CPU",
            "By worker, in cores. It computes on one, so that 1 is the most of it.",
            {"{{pod}} {{instance}}": f"rate({select_series('process_cpu_seconds_total')}[$__rate_interval])"},
            "short",
            width=8,
        ),
        timeseries_panel(
            "Memory",
            "By worker, resident.",
            {"{{pod}} {{instance}}": select_series("process_resident_memory_bytes")},
            "bytes",
            width=8,
        ),
        timeseries_panel(
            "Versions",
            "How many workers run each.",
            {
                "{{version}}, Python {{python_version}}": "count by (version, python_version) "
                f"({select_series('metrics_worker_build_info')})"
            },
            "short",
            width=8,
        ),
    ]
