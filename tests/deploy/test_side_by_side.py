"""Several instances of the worker: in one namespace, on one Kafka, under one Prometheus and one Grafana."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest

from deploy.checks.manifests import OVERLAYS, Manifest, name_of, pod_templates
from tests.deploy.test_manifests import INSTANCE, INSTANCES, Rendered, find_one, find_settings, select_instance

Labels = dict[str, str]
CELLS = [name for overlay, name in INSTANCES if overlay == "cells"]


def selectors(node: object) -> Iterator[Any]:
    """Every selector of pods, at any depth; that of a Service is a map of labels."""
    if isinstance(node, list):
        for item in node:
            yield from selectors(item)
    if isinstance(node, dict):
        for key, value in node.items():
            if key in {"selector", "podSelector", "labelSelector"}:
                yield value if value.keys() & {"matchLabels", "matchExpressions"} else {"matchLabels": value}
            else:
                yield from selectors(value)


def selects(selector: Manifest, labels: Labels) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        rule["operator"] == "In" and labels.get(rule["key"]) in rule["values"]
        for rule in selector.get("matchExpressions", [])
    )


def test_every_instance_of_the_overlays_is_tested(rendered: Rendered) -> None:
    found = [
        (overlay, manifest["metadata"]["labels"][INSTANCE])
        for overlay in OVERLAYS
        for manifest in rendered[overlay]
        if manifest["kind"] == "StatefulSet"
    ]
    assert sorted(found) == sorted(INSTANCES)


def test_names_in_one_namespace_are_different(rendered: Rendered) -> None:
    names = Counter(map(name_of, rendered["cells"]))
    assert [name for name, count in names.items() if count > 1] == []
    assert {m["metadata"].get("namespace") for m in rendered["cells"] if m["kind"] != "Namespace"} == {"metrics-cells"}


@pytest.mark.parametrize(("mine", "other"), list(permutations(CELLS)))
def test_selectors_select_only_pods_of_their_instance(rendered: Rendered, mine: str, other: str) -> None:
    own, others = (
        [pod["metadata"]["labels"] for pod in pod_templates(select_instance(rendered, "cells", name)).values()]
        for name in (mine, other)
    )
    found = [selector for manifest in select_instance(rendered, "cells", mine) for selector in selectors(manifest)]
    # The base admits the console of its instance, which the cells do not have.
    console = [
        each for each in found if each.get("matchLabels", {}).get("app.kubernetes.io/name") == "metrics-worker-console"
    ]
    assert (len(found), len(console)) == (9, 1)
    assert all(any(selects(selector, labels) for labels in own) for selector in found if selector not in console)
    assert not any(selects(selector, labels) for selector in found for labels in others)


@pytest.mark.parametrize("variable", ["KAFKA_GROUP_ID", "KAFKA_DLQ_TOPIC"])
def test_instances_on_one_kafka_share_neither_group_nor_dead_letters(rendered: Rendered, variable: str) -> None:
    values = [find_settings(select_instance(rendered, overlay, name))[variable] for overlay, name in INSTANCES]
    assert len(set(values)) == len(INSTANCES)


def test_references_to_another_manifest_are_within_the_instance(rendered: Rendered) -> None:
    for name in CELLS:
        text = json.dumps(select_instance(rendered, "cells", name))
        assert not any(other in text for other in CELLS if other != name)


def test_alerts_are_evaluated_once_for_all_overlays(rendered: Rendered) -> None:
    for overlay in OVERLAYS:
        assert not [m for m in rendered[overlay] if m["kind"] in {"PodMonitor", "PrometheusRule"}]
    for kind in ("PodMonitor", "PrometheusRule"):
        assert find_one(rendered["monitoring"], kind)["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_pod_monitor_selects_workers_and_watches_and_names_their_instance(rendered: Rendered) -> None:
    monitor = find_one(rendered["monitoring"], "PodMonitor")["spec"]
    assert monitor["namespaceSelector"] == {"any": True}
    assert monitor["podTargetLabels"] == [INSTANCE]
    for overlay, name in INSTANCES:
        pods = pod_templates(select_instance(rendered, overlay, name))
        scraped = {
            key.partition("/")[0]
            for key, pod in pods.items()
            if selects(monitor["selector"], pod["metadata"]["labels"])
        }
        assert scraped == {"StatefulSet", "Deployment"}


def test_sidecar_of_grafana_finds_the_dashboards(rendered: Rendered) -> None:
    dashboards = find_one(rendered["monitoring"], "ConfigMap")
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {json.loads(text)["uid"] for text in dashboards["data"].values()} == {"metrics-worker", "execution-metrics"}
    # `kubectl apply` keeps a second copy as an annotation, of at most 256 KiB.
    assert len(json.dumps(dashboards)) < 200_000


def test_external_secrets_fill_every_secret_that_is_mounted(rendered: Rendered) -> None:
    filled = {
        (spec["target"]["name"], entry["secretKey"])
        for spec in (m["spec"] for m in rendered["cells"] if m["kind"] == "ExternalSecret")
        for entry in spec["data"]
    }
    mounted = {
        (volume["secret"]["secretName"], "password")
        for pod in pod_templates(rendered["cells"]).values()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
    }
    assert filled == mounted
