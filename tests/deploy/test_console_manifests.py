"""The console in Kubernetes, as the overlay for production adds it."""

import csv
from pathlib import Path

import pytest

from deploy.checks.manifests import Manifest, name_of, pod_templates
from tests.deploy.test_manifests import ACLS, CONSOLE, Rendered, environment, find_one, select_instance
from worker.settings.fields import Settings
from worker.settings.loading import load


@pytest.fixture
def instance(rendered: Rendered) -> list[Manifest]:
    return select_instance(rendered, "production", "metrics-worker")


@pytest.fixture
def template(instance: list[Manifest]) -> Manifest:
    return pod_templates(instance)[f"Deployment/{CONSOLE}"]


@pytest.fixture
def settings(instance: list[Manifest], template: Manifest, tmp_path: Path) -> Settings:
    (tmp_path / "password").write_text("not a real one\n")
    return load(environment(template, instance, tmp_path))


def test_users_sign_in_and_each_role_is_given(settings: Settings) -> None:
    assert settings.console_oidc_issuer
    assert settings.console_viewers
    assert settings.console_operators
    assert settings.console_editors
    assert settings.console_mask
    assert not settings.console_allow_anonymous_actions


def test_sessions_are_in_one_process_which_has_time_to_end(instance: list[Manifest], settings: Settings) -> None:
    spec = find_one(instance, "Deployment", CONSOLE)["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace >= settings.shutdown_timeout_seconds + 10


def test_secrets_are_its_own_and_files(template: Manifest, settings: Settings) -> None:
    secrets = [volume["secret"]["secretName"] for volume in template["spec"]["volumes"]]
    assert secrets == [f"{CONSOLE}-kafka", f"{CONSOLE}-clickhouse", f"{CONSOLE}-oidc"]
    assert settings.kafka_sasl_username == CONSOLE
    assert settings.clickhouse_user == "metrics_console"
    (container,) = template["spec"]["containers"]
    assert "env" not in container


def test_requests_come_from_the_ingress_controller_only(instance: list[Manifest], template: Manifest) -> None:
    (container,) = template["spec"]["containers"]
    (port,) = container["ports"]
    policy = find_one(instance, "NetworkPolicy", CONSOLE)["spec"]
    (rule,) = policy["ingress"]
    assert [each["port"] for each in rule["ports"]] == [port["containerPort"]] == [8090]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
    assert [each["port"] for rule in policy["egress"] for each in rule["ports"]] == [53, 53, 9093, 9440, 443, 8080]
    service = find_one(instance, "Service", CONSOLE)["spec"]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert service["ports"][0]["targetPort"] == port["name"]


def test_console_reaches_all_workers_at_their_status_pages(instance: list[Manifest], settings: Settings) -> None:
    (workers,) = [each for each in instance if name_of(each) == "Service/metrics-worker"]
    (port,) = workers["spec"]["ports"]
    assert settings.console_workers_url == f"http://{workers['metadata']['name']}:{port['port']}"
    assert workers["spec"]["clusterIP"] == "None"  # its name has the address of every pod
    assert workers["spec"]["publishNotReadyAddresses"]  # of a worker that holds too
    (worker,) = find_one(instance, "StatefulSet", "metrics-worker")["spec"]["template"]["spec"]["containers"]
    assert [each["containerPort"] for each in worker["ports"]] == [8080]
    for policy, direction, peer, other in (
        (CONSOLE, "egress", "to", "metrics-worker"),
        ("metrics-worker", "ingress", "from", CONSOLE),
    ):
        (found,) = [each for each in instance if name_of(each) == f"NetworkPolicy/{policy}"]
        labels = {"app.kubernetes.io/instance": "metrics-worker", "app.kubernetes.io/name": other}
        rule = {peer: [{"podSelector": {"matchLabels": labels}}], "ports": [{"protocol": "TCP", "port": 8080}]}
        assert rule in found["spec"][direction]


def test_probes_need_no_user(template: Manifest) -> None:
    (container,) = template["spec"]["containers"]
    paths = [container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")]
    assert paths == ["/livez", "/livez", "/readyz"]


def test_rights_are_those_of_reading_and_of_a_replay() -> None:
    with ACLS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    def rights(*who: str) -> set[tuple[str, str]]:
        return {(row["named by"], row["operation"]) for row in rows if row["who"] in who}

    assert rights("console", "console-actions") == rights("console", "replay")
    assert rights("discard") <= rights("console", "console-actions")
    assert ("KAFKA_GROUP_ID", "READ") not in rights("console", "console-actions")
