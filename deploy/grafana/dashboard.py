"""The dashboard of operators: health, throughput, latency and failures of the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.layout import add_rows, encode, new_dashboard
from deploy.grafana.panels import DATA_SOURCE, DLQ_WATCH, quantiles, rate, select_series, stat_panel, timeseries_panel

if TYPE_CHECKING:
    from grafana_foundation_sdk.builders.stat import Panel as StatPanel
    from grafana_foundation_sdk.builders.timeseries import Panel as TimeseriesPanel

_INSERTS = "metrics_worker_inserts_total"
_WRITE_RATE = f"sum(rate({select_series(_INSERTS, outcome='written')}[10m]))"
_OLDEST_UNANSWERED = f"max({select_series('metrics_worker_oldest_unanswered_insert_seconds')})"


def dashboard_json() -> str:
    """Return the dashboard as JSON for Grafana's import, with a final line break."""
    return encode(_dashboard())


def _dashboard() -> builders.Dashboard:
    dashboard = (
        new_dashboard(
            "Metrics worker",
            "metrics-worker",
            "Agent-execution metrics from Kafka into ClickHouse. Red marks the limits of the alerts.",
        )
        .time("now-3h", "now")
        .refresh("30s")
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_choice("namespace", "Namespace", "metrics_worker_build_info, namespace"))
        .with_variable(
            _choice(
                "worker", "Instance", 'metrics_worker_build_info{namespace=~"$namespace"}, app_kubernetes_io_instance'
            )
        )
    )
    return add_rows(dashboard, _panels_by_row())


def _choice(name: str, label: str, values: str) -> builders.QueryVariable:
    """A variable with some, or all, values of a label."""
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query(f"label_values({values})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .include_all(True)
        .all_value(".*")
        .multi(True)
    )


def _panels_by_row() -> dict[str, list[StatPanel] | list[TimeseriesPanel]]:
    return {
        "Health": _health_panels(),
        "Throughput and lag": _flow_panels(),
        "ClickHouse": _clickhouse_panels(),
        "Dead letters": _dead_letter_panels(),
        "Kafka and the process": [*_batch_panels(), *_process_panels()],
    }


def _health_panels() -> list[StatPanel]:
    return [
        stat_panel(
            "Consumption",
            "HOLD: a worker has paused consumption until ClickHouse or the dead-letter topic is available again.",
            f"max({select_series('metrics_worker_holding')})",
            "none",
            threshold=1,
            value_texts=("running", "HOLD"),
        ),
        stat_panel("Workers", "Workers that Prometheus can scrape.", f"sum({select_series('up')})", "none"),
        stat_panel(
            "Lag",
            "Age of the oldest event that is not processed yet.",
            f"max({select_series('metrics_worker_lag_seconds')})",
            "s",
            threshold=300,
        ),
        stat_panel("Events", "Events read from Kafka, per second.", rate("metrics_worker_events_total"), "reqps"),
        stat_panel(
            "Rows", "Rows acknowledged by ClickHouse, per second.", rate("metrics_worker_rows_written_total"), "wps"
        ),
        stat_panel(
            "Dead letters, last hour",
            "Metrics that did not become rows, and unreadable records.",
            f"sum(increase({select_series('metrics_worker_dead_letters_total')}[1h]))",
            "short",
            threshold=10,
        ),
    ]


def _flow_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Events, metrics and rows",
            "Per second. Metrics minus rows is the number of metrics skipped or dead-lettered.",
            {
                "events": rate("metrics_worker_events_total"),
                "metrics": rate("metrics_worker_metrics_total"),
                "rows": rate("metrics_worker_rows_written_total"),
            },
            "cps",
        ),
        timeseries_panel(
            "Skipped",
            "Metrics that are not numbers, by JSON type, labels that break a rule, by reason, and records without a "
            "value (tombstones); per second. The status page of a worker has the names.",
            {
                "{{json_type}}": rate("metrics_worker_metrics_skipped_total", by="json_type"),
                "label, {{reason}}": rate("metrics_worker_labels_skipped_total", by="reason"),
                "tombstones": rate("metrics_worker_tombstones_total"),
            },
            "cps",
        ),
        timeseries_panel(
            "Lag in seconds, by partition",
            "Age of the oldest record that is not processed yet. The dashed line is the limit of the alert.",
            {"{{topic}} {{partition}}": f"max by (topic, partition) ({select_series('metrics_worker_lag_seconds')})"},
            "s",
            width=8,
            threshold=300,
        ),
        timeseries_panel(
            "Lag in records, by partition",
            "Records that are not processed yet.",
            {"{{topic}} {{partition}}": f"max by (topic, partition) ({select_series('metrics_worker_lag_records')})"},
            "short",
            width=8,
        ),
        timeseries_panel(
            "End-to-end latency",
            "From the timestamp of a record to the end of its batch.",
            quantiles("metrics_worker_end_to_end_seconds"),
            "s",
            width=8,
        ),
        timeseries_panel(
            "Records before retention reaches the worker, by partition",
            "From the start of the log to the first unprocessed record. At 0, retention deletes unread ones.",
            {
                "{{topic}} {{partition}}": "min by (topic, partition) "
                f"({select_series('metrics_worker_retained_records')})"
            },
            "short",
        ),
        timeseries_panel(
            "Expired records and replaced logs",
            "In the last hour. Expired: deleted before they were read. Replaced: read again from the start of the log.",
            {
                "expired": f"sum(increase({select_series('metrics_worker_records_expired_total')}[1h]))",
                "replaced": f"sum(increase({select_series('metrics_worker_logs_replaced_total')}[1h]))",
            },
            "short",
        ),
    ]


def _clickhouse_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Inserts by outcome",
            "Per second, with ClickHouse's error code if there is one.",
            {"{{outcome}} {{code}}": rate(_INSERTS, by="outcome, code")},
            "ops",
            width=8,
        ),
        timeseries_panel(
            "Retries and splits",
            "Inserts repeated with the same rows, and blocks split into smaller ones; per second.",
            {
                "retry after {{outcome}} {{code}}": rate("metrics_worker_insert_retries_total", by="outcome, code"),
                "split: {{reason}}": rate("metrics_worker_splits_total", by="reason"),
            },
            "ops",
            width=8,
        ),
        timeseries_panel(
            "Deduplication window in use",
            "Share of ClickHouse's deduplication window (10,000 inserts) used since the oldest unanswered insert.",
            {
                "by inserts": f"{_OLDEST_UNANSWERED} * {_WRITE_RATE} / 10000",
                "by time (one hour, replicated tables only)": f"{_OLDEST_UNANSWERED} / 3600",
            },
            "percentunit",
            width=8,
            threshold=0.5,
        ),
        timeseries_panel(
            "Insert duration", "Failed inserts included.", quantiles("metrics_worker_insert_seconds"), "s", width=6
        ),
        timeseries_panel(
            "Rows per insert",
            "Small inserts create many parts that ClickHouse must merge.",
            quantiles("metrics_worker_insert_rows"),
            "short",
            width=6,
        ),
        timeseries_panel(
            "Inserts and months per batch",
            "On average. Each month of a batch is a part; months with few rows share an insert.",
            {
                "inserts": f"{rate(_INSERTS)} / {rate('metrics_worker_batch_events_count')}",
                "months": f"{rate('metrics_worker_batch_months_sum')} / {rate('metrics_worker_batch_months_count')}",
            },
            "short",
            width=6,
        ),
        timeseries_panel(
            "Servers in use",
            "Number of workers that are connected to each server for INSERTs. It moves when one fails, and back later.",
            {"{{server}}": f"sum by (server) ({select_series('metrics_worker_clickhouse_server_in_use')})"},
            "short",
            width=6,
        ),
    ]


def _dead_letter_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Dead letters by error class",
            "In the last five minutes. The runbook has a section for each class.",
            {
                "{{error_class}} ({{kind}})": "sum by (error_class, kind) "
                f"(increase({select_series('metrics_worker_dead_letters_total')}[5m]))"
            },
            "short",
        ),
        timeseries_panel(
            "Dead-letter write duration",
            "From sending a batch's dead letters to the last acknowledgement; failed attempts included.",
            quantiles("metrics_worker_dead_letter_put_seconds"),
            "s",
        ),
        timeseries_panel(
            "Open dead letters by cause",
            "Neither replayed nor discarded, of `metrics-worker dlq watch`. `dlq causes` explains each cause.",
            {
                "{{error_class}} {{cause}}": "sum by (error_class, cause) (max by (namespace, error_class, cause) "
                f"({_watched('dead_letters_open')}))"
            },
            "short",
        ),
        timeseries_panel(
            "Age of the oldest open dead letter, and time to the first expiry",
            "Retention deletes the first then. An alert fires when a day, or a tenth of the retention, is left.",
            {
                "age of the oldest": f"time() - min({_watched('dead_letters_open_oldest_timestamp_seconds')})",
                "until the first expires": f"min({_watched('dead_letters_first_expiry_timestamp_seconds')}) - time()",
            },
            "s",
        ),
    ]


def _watched(name: str) -> str:
    return select_series(f"metrics_worker_{name}", job=DLQ_WATCH)


def _batch_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "Batch duration",
            "From decoding to the last acknowledgement.",
            quantiles("metrics_worker_batch_seconds"),
            "s",
            width=8,
        ),
        timeseries_panel(
            "Rebalances and failed commits",
            "In the last 15 minutes. A worker that starts or stops causes one or two rebalances.",
            {
                "rebalances": f"sum(increase({select_series('metrics_worker_rebalances_total')}[15m]))",
                "failed commits": f"sum(increase({select_series('metrics_worker_commit_failures_total')}[15m]))",
            },
            "short",
            width=8,
        ),
        timeseries_panel(
            "Assigned partitions",
            "By worker. A worker without partitions is idle.",
            {"{{pod}} {{instance}}": f"max by (pod, instance) ({select_series('metrics_worker_assigned_partitions')})"},
            "short",
            width=8,
        ),
    ]


def _process_panels() -> list[TimeseriesPanel]:
    return [
        timeseries_panel(
            "CPU",
            "By worker, in cores. A worker uses one core, so the maximum is 1.",
            {"{{pod}} {{instance}}": f"rate({select_series('process_cpu_seconds_total')}[$__rate_interval])"},
            "short",
            width=8,
        ),
        timeseries_panel(
            "Memory",
            "Resident memory, by worker.",
            {"{{pod}} {{instance}}": select_series("process_resident_memory_bytes")},
            "bytes",
            width=8,
        ),
        timeseries_panel(
            "Versions",
            "Number of workers that run each version.",
            {
                "{{version}}, Python {{python_version}}": "count by (version, python_version) "
                f"({select_series('metrics_worker_build_info')})"
            },
            "short",
            width=8,
        ),
    ]
