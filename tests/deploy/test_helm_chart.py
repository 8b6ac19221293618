"""The Helm chart is generated from the kustomize tree, renders the same manifests, and refuses wrong values."""

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.checks import tools
from deploy.checks.charts import CHART, EXAMPLES, lint_chart, render_chart
from deploy.checks.manifests import KUBERNETES, Manifest, name_of, pod_templates
from deploy.helm_chart import expressions, source
from deploy.helm_chart.chart import chart_files, committed_files
from tests.deploy.test_manifests import INSTANCE, Rendered, find_one, select_instance

Values = dict[str, Any]
Render = Callable[..., list[Manifest]]
REQUIRED: Values = {
    "image": {"repository": "registry.example.internal/execution-metrics-worker"},
    "settings": {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.example.internal:9093",
        "CLICKHOUSE_HOST": "clickhouse.example.internal",
    },
}
CONSOLE = {
    "CONSOLE_PUBLIC_URL": "https://dead-letters.example.internal",
    "CONSOLE_OIDC_ISSUER": "https://issuer.example.internal",
}
IMAGE = {
    "name": "execution-metrics-worker",
    "newName": "registry.example.internal/execution-metrics-worker",
    "newTag": "0.1.0",
}

HELMS_OWN = {"app.kubernetes.io/managed-by", "helm.sh/chart", "checksum/settings", "checksum/console"}
"""Labels and annotations of Helm's chart alone."""
OWN_SUFFIX = re.compile(
    r"^(metrics-worker(?:-console)?(?:-cell-\d)?)-[24-9bcdfghkmt]{10}$|^(metrics-worker-migrate(?:-cell-\d)?)-1$"
)
"""The hash of kustomize's ConfigMap; the revision of Helm's migration."""


@pytest.fixture(scope="module")
def helm() -> Path:
    """The program."""
    return tools.ensure_helm()


@pytest.fixture(scope="module")
def template(helm: Path) -> Render:
    """Renders a release with values, on top of those that are required."""

    def render_release(release: str = "metrics-worker", values: Values | None = None, **options: str) -> list[Manifest]:
        merged = {**REQUIRED, **(values or {})}
        merged["settings"] = {**REQUIRED["settings"], **merged["settings"]}
        return render_chart(helm, release, merged, namespace=options.get("namespace", "metrics"))

    return render_release


def refusal(template: Render, release: str = "metrics-worker", **values: Any) -> str:
    """The reason for which the chart refuses values."""
    with pytest.raises(tools.ToolFailedError) as refused:
        template(release, values)
    return str(refused.value)


def comparable(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The manifests by name, without what kustomize and Helm do in ways of their own.

    Kustomize gives a ConfigMap a name with a hash. Helm has a checksum in the pods instead, because it deletes the old
    ConfigMap while pods still use it. Helm adds labels of its own, and gives each revision a Job for the migration.
    """
    return {name_of(manifest): manifest for manifest in map(_without_differences, manifests)}


def _without_differences(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_differences(item) for item in node]
    if isinstance(node, dict):
        found = {key: _without_differences(value) for key, value in node.items() if key not in HELMS_OWN}
        return {key: value for key, value in found.items() if key not in {"annotations", "labels"} or value}
    return OWN_SUFFIX.sub(r"\1\2", node) if isinstance(node, str) else node


def without_namespace(manifests: list[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] != "Namespace"]


class TestTheChartIsTheKustomizeTree:
    def test_generated_files_are_those_that_the_generator_writes(self) -> None:
        assert committed_files() == chart_files()  # else: python -m deploy.helm_chart

    def test_every_component_is_in_the_chart_or_has_a_reason_not_to_be(self) -> None:
        assert sorted([*expressions.COMPONENTS, *expressions.NOT_IN_CHART]) == source.COMPONENTS

    @pytest.mark.parametrize(
        ("overlay", "release", "example"),
        [("production", "metrics-worker", "production"), ("cells", "metrics-worker-cell-1", "cell-1")],
    )
    def test_example_renders_the_overlay(
        self, helm: Path, rendered: Rendered, overlay: str, release: str, example: str
    ) -> None:
        file = CHART / "examples" / f"{example}.yaml"
        found = render_chart(helm, release, {}, file, namespace=f"metrics-{overlay}")
        assert comparable(found) == comparable(select_instance(rendered, overlay, release))

    def test_release_renders_staging(self, template: Render, rendered: Rendered) -> None:
        settings = {
            "KAFKA_GROUP_ID": "metrics-worker-staging",
            "KAFKA_DLQ_TOPIC": "execution-completed.staging.dlq",
            "KAFKA_BOOTSTRAP_SERVERS": "kafka.staging.example.internal:9093",
            "CLICKHOUSE_HOST": "clickhouse.staging.example.internal",
            "LOG_LEVEL": "DEBUG",
        }
        found = template(values={"settings": settings}, namespace="metrics-staging")
        assert comparable(found) == comparable(without_namespace(rendered["staging"]))

    @pytest.mark.parametrize(
        "components", [[], ["keda"], ["console"], ["dlq-watch", "external-secrets", "keda"]], ids="+".join
    )
    def test_values_switch_components_on_and_off(self, template: Render, components: list[str]) -> None:
        keys = {"console": "console", "dlq-watch": "dlqWatch", "external-secrets": "externalSecrets", "keda": "keda"}
        assert keys.keys() == expressions.COMPONENTS.keys()
        values: Values = {key: {"enabled": name in components} for name, key in keys.items()}
        values["console"]["settings"] = CONSOLE
        found = template(values=values)
        built = source.build(components, namespace="metrics", images=[IMAGE])
        assert comparable(found) == comparable(built)

    def test_monitoring_is_that_of_kustomize(self, template: Render, rendered: Rendered) -> None:
        own = {name_of(manifest) for manifest in template()}
        found = template(values={"monitoring": {"enabled": True, "namespace": "monitoring"}})
        added = [m for m in found if name_of(m) not in own or m["metadata"]["namespace"] == "monitoring"]
        assert comparable(added) == comparable(rendered["monitoring"])


class TestSideBySide:
    def test_releases_in_one_namespace_share_no_name_but_those_of_secrets(self, template: Render) -> None:
        releases = {
            name: template(f"metrics-worker-{name}", {"settings": {"KAFKA_DLQ_TOPIC": f"{name}.dlq"}})
            for name in ("blue", "green")
        }
        blue, green = ({name_of(manifest) for manifest in found} for found in releases.values())
        assert not blue & green
        for name, found in releases.items():
            instances = {m["metadata"]["labels"][INSTANCE] for m in found}
            assert instances == {find_one(found, "ConfigMap")["data"]["KAFKA_GROUP_ID"]} == {f"metrics-worker-{name}"}

    @pytest.mark.parametrize(
        ("release", "settings", "reason"),
        [
            ("blue", {}, "instance metrics-worker-blue needs a dead-letter topic of its own"),
            ("blue", {"KAFKA_DLQ_TOPIC": "execution-completed.dlq"}, "is that of the instance metrics-worker"),
            ("blue", {"KAFKA_DLQ_TOPIC": "b", "KAFKA_GROUP_ID": "metrics-worker"}, "leave it out"),
            ("b" * 31, {"KAFKA_DLQ_TOPIC": "b"}, "at most 45 characters"),
        ],
    )
    def test_what_two_instances_must_not_share_is_refused(
        self, template: Render, release: str, settings: Values, reason: str
    ) -> None:
        assert reason in refusal(template, release, settings=settings)

    def test_name_of_a_release_with_a_dot_is_refused(self, template: Render) -> None:
        assert "a dot is not allowed" in refusal(template, "a.b", settings={"KAFKA_DLQ_TOPIC": "b"})

    def test_name_of_a_release_need_not_begin_with_that_of_the_chart(self, template: Render) -> None:
        found = template("blue", {"settings": {"KAFKA_DLQ_TOPIC": "blue.dlq"}})
        assert find_one(found, "StatefulSet")["metadata"]["name"] == "metrics-worker-blue"


class TestValues:
    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"replica": 3}, "additional properties 'replica' not allowed"),
            ({"replicas": "three"}, "at '/replicas': got string, want integer"),
            ({"image": {"repository": ""}}, "at '/image/repository'"),
            ({"image": {"repository": "r", "digest": "sha256:abc"}}, "at '/image/digest'"),
            ({"migration": {"hook": "pre-install"}}, "at '/migration/hook': value must be one of"),
            ({"settings": {"KAFKA_TOPICS": "x"}}, "additional properties 'KAFKA_TOPICS' not allowed"),
            ({"settings": {"KAFKA_SASL_PASSWORD": "x"}}, "additional properties 'KAFKA_SASL_PASSWORD' not allowed"),
            ({"settings": {"CLICKHOUSE_SECURE": "yes"}}, "at '/settings/CLICKHOUSE_SECURE': got string, want boolean"),
            ({"settings": {"KAFKA_BOOTSTRAP_SERVERS": ""}}, "at '/settings/KAFKA_BOOTSTRAP_SERVERS': minLength"),
            ({"settings": {"SHUTDOWN_TIMEOUT_SECONDS": -1}}, "at '/settings/SHUTDOWN_TIMEOUT_SECONDS': minimum"),
            ({"settings": {"LOG_LEVEL": "LOUD"}}, "at '/settings/LOG_LEVEL': value must be one of"),
            ({"podLabels": {"app.kubernetes.io/part-of": "ours"}}, "at '/podLabels/app.kubernetes.io~1part-of'"),
            ({"commonLabels": {"app.kubernetes.io/name": "ours"}}, "at '/commonLabels/app.kubernetes.io~1name'"),
            ({"podAnnotations": {"checksum/settings": "1"}}, "at '/podAnnotations/checksum~1settings'"),
            ({"extraEnv": [{"name": "KAFKA_SASL_PASSWORD", "value": "x"}]}, "at '/extraEnv/0/name'"),
            ({"extraEnv": [{"name": "HTTP_PORT", "value": "9090"}]}, "at '/extraEnv/0/name'"),
            ({"extraEnv": [{"name": "OTEL_A", "value": 1}]}, "at '/extraEnv/0/value': got number, want string"),
            ({"keda": {"enabled": True, "minReplicas": 0}}, "at '/keda/minReplicas': minimum"),
            ({"keda": {"enabled": True, "minReplicas": 13}}, "keda.minReplicas: 13 are more than keda.maxReplicas, 12"),
            ({"podDisruptionBudget": {"maxUnavailable": -1}}, "at '/podDisruptionBudget/maxUnavailable': minimum"),
            ({"podDisruptionBudget": {"maxUnavailable": "150%"}}, "at '/podDisruptionBudget/maxUnavailable'"),
            ({"secrets": {"clickhouseMigrator": ""}}, "secrets.clickhouseMigrator: a name is needed"),
            ({"secrets": {"dlqWatchKafka": ""}}, "secrets.dlqWatchKafka: a name is needed"),
            ({"settings": {"CLICKHOUSE_SECURE": False}}, "networkPolicy.clickhousePort: 9440 does not reach"),
            ({"settings": {"CLICKHOUSE_HOST": "ch:9000"}}, "networkPolicy.clickhousePort: 9440 does not reach ch:9000"),
            (
                {"settings": {"KAFKA_BOOTSTRAP_SERVERS": "k:9093,k:9092"}},
                "networkPolicy.kafkaPort: 9093 does not reach",
            ),
        ],
        ids=str,
    )
    def test_wrong_value_is_refused_by_its_name(self, template: Render, values: Values, reason: str) -> None:
        assert reason in refusal(template, **values)

    @pytest.mark.parametrize(
        "values",
        [
            {"networkPolicy": {"extraEgress": [{"ports": [{"port": 9000}]}]}},
            {"networkPolicy": {"clickhousePort": 9000}},
            {"networkPolicy": {"enabled": False}},
        ],
        ids=str,
    )
    def test_port_may_differ_if_the_network_policy_allows_it(self, template: Render, values: Values) -> None:
        assert template(values={**values, "settings": {"CLICKHOUSE_PORT": 9000}})

    def test_port_of_each_server_is_read_as_the_worker_reads_it(self, template: Render) -> None:
        assert template(values={"settings": {"CLICKHOUSE_HOST": "ch-1, ch-2:9440,[::1],[::1]:9440,::1"}})

    def test_image_and_hosts_are_required(self, helm: Path) -> None:
        with pytest.raises(tools.ToolFailedError) as refused:
            render_chart(helm, "metrics-worker", {}, namespace="metrics")
        assert "/image/repository" in str(refused.value)
        assert "missing properties 'KAFKA_BOOTSTRAP_SERVERS', 'CLICKHOUSE_HOST'" in str(refused.value)

    def test_settings_are_printed_as_the_worker_reads_them(self, template: Render) -> None:
        settings = {"SHUTDOWN_TIMEOUT_SECONDS": 90, "KAFKA_METADATA_MAX_AGE_SECONDS": 0.5, "KAFKA_SASL_MECHANISM": None}
        found = template(values={"settings": settings, "secrets": {"kafka": ""}})
        data = find_one(found, "ConfigMap")["data"]
        assert (data["SHUTDOWN_TIMEOUT_SECONDS"], data["KAFKA_METADATA_MAX_AGE_SECONDS"]) == ("90", "0.5")
        assert not {"KAFKA_SASL_MECHANISM", "KAFKA_SASL_PASSWORD_FILE"} & data.keys()
        pod = pod_templates(found)["StatefulSet/metrics-worker"]["spec"]
        assert pod["terminationGracePeriodSeconds"] == 105
        assert [volume["name"] for volume in pod["volumes"]] == ["clickhouse", "temporary"]

    def test_large_number_is_not_printed_in_scientific_notation(self, template: Render) -> None:
        found = template(values={"settings": {"BATCH_MAX_EVENTS": 1000000}})
        assert find_one(found, "ConfigMap")["data"]["BATCH_MAX_EVENTS"] == "1000000"

    def test_every_pod_takes_what_is_for_all_pods(self, template: Render) -> None:
        values: Values = {
            "image": {"repository": "r/w", "digest": f"sha256:{'a' * 64}", "pullSecrets": [{"name": "registry"}]},
            "nodeSelector": {"pool": "metrics"},
            "tolerations": [{"key": "metrics", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podLabels": {"team": "data"},
            "podAnnotations": {"sidecar.istio.io/inject": "false"},
            "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://collector:4317"}],
            "extraVolumes": [{"name": "authority", "configMap": {"name": "authority"}}],
            "extraVolumeMounts": [{"name": "authority", "mountPath": "/etc/authority"}],
            "serviceAccount": {"create": False, "name": "shared"},
        }
        pods = pod_templates(template(values=values))
        assert len(pods) == 4
        for pod in pods.values():
            spec, metadata = pod["spec"], pod["metadata"]
            (container,) = spec["containers"]
            assert container["image"] == f"r/w@sha256:{'a' * 64}"
            assert spec["imagePullSecrets"] == [{"name": "registry"}]
            assert (spec["nodeSelector"], spec["affinity"]) == (values["nodeSelector"], values["affinity"])
            assert values["tolerations"][0] in spec["tolerations"]
            assert (metadata["labels"]["team"], metadata["annotations"]["sidecar.istio.io/inject"]) == ("data", "false")
            assert values["extraEnv"][0] in container["env"]
            assert values["extraVolumes"][0] in spec["volumes"]
            assert values["extraVolumeMounts"][0] in container["volumeMounts"]
            assert spec["serviceAccountName"] == "shared"

    def test_changed_setting_replaces_the_pods(self, template: Render) -> None:
        checksums = {
            pod_templates(template(values={"settings": {"LOG_LEVEL": level}}))["StatefulSet/metrics-worker"][
                "metadata"
            ]["annotations"]["checksum/settings"]
            for level in ("INFO", "DEBUG")
        }
        assert len(checksums) == 2

    def test_migration_is_a_hook_or_a_job_of_the_revision(self, template: Render) -> None:
        jobs = [
            find_one(template(values={"migration": {"hook": hook}}), "Job")["metadata"]
            for hook in ("none", "post-install,pre-upgrade")
        ]
        assert [job["name"] for job in jobs] == ["metrics-worker-migrate-1", "metrics-worker-migrate"]
        assert [job["annotations"].get("helm.sh/hook") for job in jobs] == [None, "post-install,pre-upgrade"]

    def test_each_alert_links_to_the_runbook_of_the_values(self, template: Render) -> None:
        monitoring = {"enabled": True, "runbookUrl": "https://wiki.example.org/runbook"}
        rules = json.dumps(find_one(template(values={"monitoring": monitoring}), "PrometheusRule"))
        assert "https://wiki.example.org/runbook#the-worker-holds" in rules
        assert "example.internal" not in rules


def test_lint_finds_nothing(helm: Path) -> None:
    assert lint_chart(helm) == ", ".join(file.stem for file in EXAMPLES) != ""


def test_package_has_the_dashboards_and_the_alerts_themselves(helm: Path, tmp_path: Path) -> None:
    tools.run((helm, "package", CHART, "--destination", tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        rules = archive.extractfile("metrics-worker/files/rules.yaml")
        assert rules is not None
        assert rules.read() == (KUBERNETES / "monitoring" / "rules.yaml").read_bytes()
