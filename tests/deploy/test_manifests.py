"""The rendered overlays fit together, and fit the worker."""

import csv
from pathlib import Path
from typing import Any

import pytest

from deploy.checks.manifests import OVERLAYS, Manifest, name_of, pod_templates
from worker.settings.loading import load

Rendered = dict[str, list[Manifest]]
_TEMPORARY = "/tmp"  # noqa: S108 - a path in the pod
DLQ_WATCH = "metrics-worker-dlq-watch"
ACLS = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.csv"
overlays = pytest.mark.parametrize("overlay", OVERLAYS)


def find_one(manifests: list[Manifest], kind: str, prefix: str = "") -> Any:
    (manifest,) = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].startswith(prefix)]
    return manifest


def environment(template: Manifest, manifests: list[Manifest], secrets: Path) -> dict[str, str]:
    """The variables of a pod's container, with the folder `secrets` for its mounted secrets."""
    (container,) = template["spec"]["containers"]
    values: dict[str, str] = {}
    for source in container["envFrom"]:
        name = source["configMapRef"]["name"]
        values |= next(m for m in manifests if name_of(m) == f"ConfigMap/{name}")["data"]
    for entry in container.get("env", []):
        values[entry["name"]] = entry.get("value", "metrics-worker-0")
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    for name, path in values.items():
        if name.endswith("_PASSWORD_FILE") and path:
            assert str(Path(path).parent) in mounted, f"{name}={path} is not mounted"
            values[name] = str(secrets / "password")
    return values


def selected_names(selector: Manifest) -> list[str]:
    """The names of the pods that a selector selects."""
    (name,) = selector.get("matchLabels", {"": None}).values()
    if name is not None:
        return [name]
    (rule,) = selector["matchExpressions"]
    names: list[str] = rule["values"]
    return names


@overlays
class TestWorker:
    def test_settings_of_every_pod_are_valid(self, rendered: Rendered, overlay: str, tmp_path: Path) -> None:
        (tmp_path / "password").write_text("not a real one\n")
        templates = pod_templates(rendered[overlay])
        assert len(templates) == 4
        for template in templates.values():
            load(environment(template, rendered[overlay], tmp_path))

    def test_grace_period_is_longer_than_the_shutdown_timeout(
        self, rendered: Rendered, overlay: str, tmp_path: Path
    ) -> None:
        (tmp_path / "password").write_text("not a real one\n")
        templates = pod_templates(rendered[overlay])
        for name in ("StatefulSet/metrics-worker", "CronJob/metrics-worker-replay"):
            settings = load(environment(templates[name], rendered[overlay], tmp_path))
            grace = templates[name]["spec"]["terminationGracePeriodSeconds"]
            assert grace >= settings.shutdown_timeout_seconds + 10

    def test_each_pod_is_a_static_member_with_its_own_name(self, rendered: Rendered, overlay: str) -> None:
        (container,) = find_one(rendered[overlay], "StatefulSet")["spec"]["template"]["spec"]["containers"]
        instance = next(entry for entry in container["env"] if entry["name"] == "KAFKA_GROUP_INSTANCE_ID")
        assert instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
        for pod in ("Job", "CronJob"):
            assert "KAFKA_GROUP_INSTANCE_ID" not in str(find_one(rendered[overlay], pod))

    def test_no_pod_has_a_token_or_service_links(self, rendered: Rendered, overlay: str) -> None:
        for template in pod_templates(rendered[overlay]).values():
            assert template["spec"]["automountServiceAccountToken"] is False
            assert template["spec"]["enableServiceLinks"] is False

    def test_audit_can_write_temporary_files_of_bounded_size_where_an_operator_runs_it(
        self, rendered: Rendered, overlay: str
    ) -> None:
        templates = pod_templates(rendered[overlay])
        for name in ("StatefulSet/metrics-worker", "CronJob/metrics-worker-replay"):
            spec = templates[name]["spec"]
            (container,) = spec["containers"]
            (volume,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == _TEMPORARY]
            (folder,) = [entry["emptyDir"] for entry in spec["volumes"] if entry["name"] == volume]
            assert folder["sizeLimit"]

    def test_policies_select_their_pods(self, rendered: Rendered, overlay: str) -> None:
        key = "app.kubernetes.io/name"
        labels = sorted(t["metadata"]["labels"][key] for t in pod_templates(rendered[overlay]).values())
        policies = [m["spec"]["podSelector"] for m in rendered[overlay] if m["kind"] == "NetworkPolicy"]
        assert sorted(name for policy in policies for name in selected_names(policy)) == labels
        budget, monitor = (
            find_one(rendered[overlay], kind)["spec"]["selector"] for kind in ("PodDisruptionBudget", "PodMonitor")
        )
        assert selected_names(budget) == ["metrics-worker"]
        assert selected_names(monitor) == ["metrics-worker", DLQ_WATCH]

    def test_dead_letter_watch_has_a_user_of_its_own_and_no_access_to_clickhouse(
        self, rendered: Rendered, overlay: str
    ) -> None:
        template = pod_templates(rendered[overlay])[f"Deployment/{DLQ_WATCH}"]
        (container,) = template["spec"]["containers"]
        variables = {entry["name"]: entry["value"] for entry in container["env"]}
        with ACLS.open(encoding="utf-8", newline="") as file:
            rights = {row["operation"] for row in csv.DictReader(file) if row["who"] == "watch"}
        assert (variables["KAFKA_SASL_USERNAME"], rights) == (DLQ_WATCH, {"READ", "DESCRIBE_CONFIGS"})
        assert [volume["secret"]["secretName"] for volume in template["spec"]["volumes"]] == [f"{DLQ_WATCH}-kafka"]
        policy = next(m for m in rendered[overlay] if name_of(m) == f"NetworkPolicy/{DLQ_WATCH}")["spec"]
        assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [53, 53, 9093]
        (ports,) = [rule["ports"] for rule in policy["ingress"]]
        assert [port["port"] for port in ports] == [container["ports"][0]["containerPort"]]

    def test_replay_job_handles_each_exit_code(self, rendered: Rendered, overlay: str) -> None:
        cron = find_one(rendered[overlay], "CronJob")["spec"]
        assert cron["concurrencyPolicy"] == "Forbid"
        rules = cron["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
        by_code = {code: r["action"] for r in rules if "onExitCodes" in r for code in r["onExitCodes"]["values"]}
        assert by_code == {1: "FailJob", 2: "FailJob", 3: "Ignore"}


def test_keda_scales_by_the_lag_of_the_consumer_group(rendered: Rendered) -> None:
    manifests = rendered["production"]
    settings = find_one(manifests, "ConfigMap")["data"]
    spec = find_one(manifests, "ScaledObject")["spec"]
    (trigger,) = spec["triggers"]
    metadata = trigger["metadata"]
    assert metadata["bootstrapServers"] == settings["KAFKA_BOOTSTRAP_SERVERS"]
    assert (metadata["topic"], metadata["consumerGroup"]) == (settings["KAFKA_TOPIC"], settings["KAFKA_GROUP_ID"])
    assert metadata["allowIdleConsumers"] == "false"
    assert "replicas" not in find_one(manifests, "StatefulSet")["spec"]
