"""The rendered overlays fit together, and fit the worker."""

import csv
import os
import re
from pathlib import Path
from typing import Any

import pytest

from deploy.autoscaling.manifests import CPU_RECORD, LAG_RECORD
from deploy.checks import tools
from deploy.checks.manifests import KUBERNETES, OVERLAYS, Manifest, parse_manifests, pod_templates
from worker.kafka.group_instances import instance_of
from worker.settings.loading import load

Rendered = dict[str, list[Manifest]]
_TEMPORARY = "/tmp"  # noqa: S108 - a path in the pod
DLQ_WATCH = "metrics-worker-dlq-watch"
CONSOLE = "metrics-worker-console"
ACLS = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.csv"
UPGRADING = Path(__file__).parents[2] / "deploy" / "UPGRADING.md"
INSTANCE = "app.kubernetes.io/instance"
INSTANCES = [
    ("production", "metrics-worker"),
    ("staging", "metrics-worker"),
    ("cells", "metrics-worker-cell-1"),
    ("cells", "metrics-worker-cell-2"),
]


@pytest.fixture(params=INSTANCES, ids="/".join)
def instance(request: pytest.FixtureRequest, rendered: Rendered) -> list[Manifest]:
    """The manifests of one instance of the worker."""
    return select_instance(rendered, *request.param)


def select_instance(rendered: Rendered, overlay: str, name: str) -> list[Manifest]:
    return [m for m in rendered[overlay] if m["metadata"].get("labels", {}).get(INSTANCE) == name]


def find_one(manifests: list[Manifest], kind: str, prefix: str = "") -> Any:
    (manifest,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].startswith(prefix)]
    return manifest


def templates_by_kind(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The Pod template of StatefulSet, Deployment, CronJob and Job of an instance; not that of the console."""
    return {
        name.partition("/")[0]: template
        for name, template in pod_templates(manifests).items()
        if not name.endswith(CONSOLE)
    }


def find_settings(manifests: list[Manifest]) -> dict[str, str]:
    """The variables of the workers."""
    (data,) = [m["data"] for m in manifests if m["kind"] == "ConfigMap" and "KAFKA_TOPIC" in m["data"]]
    variables: dict[str, str] = data
    return variables


def environment(template: Manifest, manifests: list[Manifest], secrets: Path) -> dict[str, str]:
    """The variables of a pod's container, with the folder `secrets` for its mounted secrets."""
    (container,) = template["spec"]["containers"]
    values: dict[str, str] = {}
    for source in container["envFrom"]:
        values |= find_one(manifests, "ConfigMap", source["configMapRef"]["name"])["data"]
    fields = {"metadata.namespace": "metrics", "metadata.name": "metrics-worker-0"}
    for entry in container.get("env", []):
        values[entry["name"]] = (
            fields[entry["valueFrom"]["fieldRef"]["fieldPath"]]
            if "valueFrom" in entry
            else re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], entry["value"])
        )
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name, path in values.items():
        if name.endswith("_FILE") and path:
            assert str(Path(path).parent) in mounted, f"{name}={path} is not mounted"
            values[name] = str(secrets / "password")
    return values


def selected_names(selector: Manifest) -> list[str]:
    """The names of the pods that a selector selects."""
    name = selector.get("matchLabels", {}).get("app.kubernetes.io/name")
    if name is not None:
        return [name]
    (rule,) = selector["matchExpressions"]
    names: list[str] = rule["values"]
    return names


class TestWorker:
    def test_settings_of_every_pod_are_valid(self, instance: list[Manifest], tmp_path: Path) -> None:
        (tmp_path / "password").write_text("not a real one\n")
        templates = templates_by_kind(instance)
        assert len(templates) == 4
        for template in templates.values():
            values = environment(template, instance, tmp_path)
            load({name: value for name, value in values.items() if not name.startswith("POD_")})

    def test_grace_period_is_longer_than_the_shutdown_timeout(self, instance: list[Manifest], tmp_path: Path) -> None:
        (tmp_path / "password").write_text("not a real one\n")
        templates = templates_by_kind(instance)
        for name in ("StatefulSet", "CronJob"):
            settings = load(environment(templates[name], instance, tmp_path))
            grace = templates[name]["spec"]["terminationGracePeriodSeconds"]
            assert grace >= settings.shutdown_timeout_seconds + 10

    def test_each_pod_is_a_static_member_of_its_environment(self, instance: list[Manifest], tmp_path: Path) -> None:
        (tmp_path / "password").write_text("not a real one\n")
        templates = templates_by_kind(instance)
        name = environment(templates["StatefulSet"], instance, tmp_path)["KAFKA_GROUP_INSTANCE_ID"]
        assert (name, instance_of(name)) == ("metrics_metrics-worker-0", "metrics_metrics-worker")
        for pod in ("Job", "CronJob", "Deployment"):
            assert "KAFKA_GROUP_INSTANCE_ID" not in str(templates[pod])

    def test_drain_and_lost_node_find_what_the_runbook_says(self, instance: list[Manifest]) -> None:
        budget = find_one(instance, "PodDisruptionBudget")["spec"]
        assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")
        tolerations = templates_by_kind(instance)["StatefulSet"]["spec"]["tolerations"]
        assert [(entry["key"], entry["effect"], entry["tolerationSeconds"]) for entry in tolerations] == [
            (f"node.kubernetes.io/{state}", "NoExecute", 300) for state in ("unreachable", "not-ready")
        ]
        jobs = [find_one(instance, "Job")["spec"], find_one(instance, "CronJob")["spec"]["jobTemplate"]["spec"]]
        for job in jobs:
            ignored = [rule for rule in job["podFailurePolicy"]["rules"] if "onPodConditions" in rule]
            assert [rule["onPodConditions"][0]["type"] for rule in ignored] == ["DisruptionTarget"]
            assert {rule["action"] for rule in ignored} == {"Ignore"}

    def test_name_of_the_instance_is_that_of_its_stateful_set(self, instance: list[Manifest]) -> None:
        stateful_set = find_one(instance, "StatefulSet")["metadata"]
        assert stateful_set["name"] == stateful_set["labels"][INSTANCE]

    def test_no_pod_has_a_token_or_service_links(self, instance: list[Manifest]) -> None:
        for template in pod_templates(instance).values():
            assert template["spec"]["automountServiceAccountToken"] is False
            assert template["spec"]["enableServiceLinks"] is False

    def test_audit_can_write_temporary_files_of_bounded_size_where_an_operator_runs_it(
        self, instance: list[Manifest]
    ) -> None:
        templates = templates_by_kind(instance)
        for name in ("StatefulSet", "CronJob"):
            spec = templates[name]["spec"]
            (container,) = spec["containers"]
            (volume,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == _TEMPORARY]
            (folder,) = [entry["emptyDir"] for entry in spec["volumes"] if entry["name"] == volume]
            assert folder["sizeLimit"]

    def test_policies_select_their_pods(self, instance: list[Manifest]) -> None:
        key = "app.kubernetes.io/name"
        labels = sorted(t["metadata"]["labels"][key] for t in pod_templates(instance).values())
        policies = [m["spec"]["podSelector"] for m in instance if m["kind"] == "NetworkPolicy"]
        assert sorted(name for policy in policies for name in selected_names(policy)) == labels
        assert selected_names(find_one(instance, "PodDisruptionBudget")["spec"]["selector"]) == ["metrics-worker"]

    def test_dead_letter_watch_has_a_user_of_its_own_and_no_access_to_clickhouse(
        self, instance: list[Manifest]
    ) -> None:
        template = templates_by_kind(instance)["Deployment"]
        (container,) = template["spec"]["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        with ACLS.open(encoding="utf-8", newline="") as file:
            rights = {row["operation"] for row in csv.DictReader(file) if row["who"] == "watch"}
        assert (variables["KAFKA_SASL_USERNAME"], rights) == (DLQ_WATCH, {"READ", "DESCRIBE_CONFIGS"})
        assert [volume["secret"]["secretName"] for volume in template["spec"]["volumes"]] == [f"{DLQ_WATCH}-kafka"]
        policy = find_one(instance, "NetworkPolicy", DLQ_WATCH)["spec"]
        assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 9093]
        (ports,) = [rule["ports"] for rule in policy["ingress"]]
        assert [port["port"] for port in ports] == [container["ports"][0]["containerPort"]]

    def test_replay_job_handles_each_exit_code(self, instance: list[Manifest]) -> None:
        cron = find_one(instance, "CronJob")["spec"]
        assert cron["concurrencyPolicy"] == "Forbid"
        rules = cron["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
        by_code = {code: r["action"] for r in rules if "onExitCodes" in r for code in r["onExitCodes"]["values"]}
        assert by_code == {1: "FailJob", 2: "FailJob", 3: "Ignore"}


def test_migration_is_replaced_by_argo_cd_and_by_flux_which_keeps_it(tmp_path: Path) -> None:
    """With the patch of the document, as an overlay over the base."""
    (patch,) = re.findall(r"```yaml\n(patches:.*?)```", UPGRADING.read_text("utf-8"), re.DOTALL)
    base = os.path.relpath(KUBERNETES / "base", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{base}]\n{patch}", "utf-8")
    kustomize, _ = tools.ensure_go_tools()
    job = find_one(parse_manifests(tools.run((kustomize, "build", tmp_path))), "Job")
    assert "ttlSecondsAfterFinished" not in job["spec"]
    annotations = job["metadata"]["annotations"]
    assert annotations["kustomize.toolkit.fluxcd.io/force"] == "enabled"
    assert annotations["argocd.argoproj.io/hook"] == "Sync"
    assert annotations["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation"


def test_only_the_migration_may_be_deleted_by_flux(rendered: Rendered) -> None:
    forced = [
        manifest["kind"]
        for overlay in OVERLAYS
        for manifest in rendered[overlay]
        if "kustomize.toolkit.fluxcd.io/force" in manifest["metadata"].get("annotations", {})
    ]
    assert set(forced) == {"Job"}


@pytest.mark.parametrize(("overlay", "name"), [INSTANCES[0], *INSTANCES[2:]])
def test_keda_scales_by_what_prometheus_knows_of_the_instance(rendered: Rendered, overlay: str, name: str) -> None:
    manifests = select_instance(rendered, overlay, name)
    stateful_set = find_one(manifests, "StatefulSet")
    spec = find_one(manifests, "ScaledObject")["spec"]
    selector = f'{{namespace="{stateful_set["metadata"]["namespace"]}", app_kubernetes_io_instance="{name}"}}'
    queries = [trigger["metadata"]["query"] for trigger in spec["triggers"]]
    assert queries == [f"{CPU_RECORD}{selector}", f"{LAG_RECORD}{selector}"]
    assert {trigger["metadata"]["ignoreNullValues"] for trigger in spec["triggers"]} == {"false"}
    assert {trigger["metricType"] for trigger in spec["triggers"]} == {"AverageValue"}
    assert spec["scaleTargetRef"]["name"] == name
    assert "replicas" not in stateful_set["spec"]
