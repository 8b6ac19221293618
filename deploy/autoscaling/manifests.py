"""The numbers of the simulation, read from the manifests, so that it cannot differ from what is applied."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from deploy.autoscaling.horizontal_pod_autoscaler import Direction, Limits, Policy
from deploy.local.process import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

_KUBERNETES = REPOSITORY / "deploy" / "kubernetes"
SCALED_OBJECT = _KUBERNETES / "components" / "keda" / "scaled-object.yaml"
STATEFUL_SET = _KUBERNETES / "base" / "stateful-set.yaml"
RULES = _KUBERNETES / "monitoring" / "rules.yaml"
CPU_RECORD = "metrics_worker:workers_for_cpu"
LAG_RECORD = "metrics_worker:lag_records_to_process"


class Scaling(NamedTuple):
    """The ScaledObject, and of the recording rules what the simulation computes itself.

    Attributes:
        limits: of the HorizontalPodAutoscaler that KEDA makes.
        fallback: the failures in a row that KEDA tolerates, and the least replicas afterwards.
        thresholds: for each replica, by the recorded series that a trigger queries.
        cores_per_worker: that a worker is meant to use.
        rate_seconds: over which the CPU is averaged.
    """

    limits: Limits
    fallback: tuple[int, int]
    thresholds: dict[str, float]
    cores_per_worker: float
    rate_seconds: int


def read_scaling() -> Scaling:
    """Read the manifests."""
    spec = _load(SCALED_OBJECT)["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    limits = Limits(
        spec["minReplicaCount"],
        spec["maxReplicaCount"],
        _read_direction(behavior["scaleUp"]),
        _read_direction(behavior["scaleDown"]),
    )
    triggers = [trigger["metadata"] for trigger in spec["triggers"]]
    thresholds = {entry["query"].partition("{")[0]: float(entry["threshold"]) for entry in triggers}
    expression = load_records()[CPU_RECORD]
    return Scaling(
        limits,
        (spec["fallback"]["failureThreshold"], spec["fallback"]["replicas"]),
        thresholds,
        cores_per_worker=float(_find(r"/ ([\d.]+)", expression)),
        rate_seconds=60 * int(_find(r"\[(\d+)m\]", expression)),
    )


def load_records() -> dict[str, str]:
    """The expression of each recording rule, by name."""
    rules = [rule for group in _load(RULES)["spec"]["groups"] for rule in group["rules"]]
    return {rule["record"]: rule["expr"] for rule in rules if "record" in rule}


def read_min_ready_seconds() -> int:
    """How long a rollout waits for each pod after it is ready."""
    seconds: int = _load(STATEFUL_SET)["spec"]["minReadySeconds"]
    return seconds


def _read_direction(rules: dict[str, Any]) -> Direction:
    policies = tuple(Policy(entry["type"], entry["value"], entry["periodSeconds"]) for entry in rules["policies"])
    return Direction(rules["stabilizationWindowSeconds"], policies)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"no {pattern} in {text!r}")
    return found[1]


def _load(path: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return manifest
