"""The alert rules in Prometheus' own format, read from the manifest of the Prometheus operator."""

from __future__ import annotations

import re
from typing import Any

import yaml

from deploy.local.process import REPOSITORY

MANIFEST = REPOSITORY / "deploy" / "kubernetes" / "monitoring" / "rules.yaml"
_SPAN = re.compile(r"(\d+)(ms|[smhdwy])")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 31_536_000}
"""The units of Prometheus."""


def load_rule_file() -> dict[str, Any]:
    """Return what a rule file of Prometheus contains: `groups` of rules."""
    spec: dict[str, Any] = yaml.safe_load(MANIFEST.read_text("utf-8"))["spec"]
    return spec


def load_alerts() -> list[dict[str, Any]]:
    """Return every alert of every group, without the recording rules."""
    return [rule for group in load_rule_file()["groups"] for rule in group["rules"] if "alert" in rule]


def accelerate_rules(factor: int) -> dict[str, Any]:
    """Return the rules with all durations divided by `factor`, but at least a second, so that tests need not wait.

    Durations are in `for`, `keep_firing_for` and the expressions. The conditions themselves stay the same.
    Raises ValueError for a duration that it cannot read.
    """
    quick: dict[str, Any] = yaml.safe_load(yaml.safe_dump(load_rule_file()))
    for group in quick["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            for span in rule.keys() & {"for", "keep_firing_for"}:
                rule[span] = _shorten(rule[span], factor)
            if "changes(" in rule["expr"]:
                continue  # counts process starts, which tests cannot accelerate
            rule["expr"] = re.sub(r"\[(\w+)\]", lambda found: f"[{_shorten(found[1], factor)}]", rule["expr"])
            rule["expr"] = re.sub(r"offset (\w+)", lambda found: f"offset {_shorten(found[1], factor)}", rule["expr"])
            if "_seconds" in rule["expr"]:  # compares an age with a limit in seconds
                rule["expr"] = re.sub(
                    r"> (60|300|600|1800)\b", lambda found: f"> {int(found[1]) / factor:g}", rule["expr"]
                )
    return quick


def _shorten(span: str, factor: int) -> str:
    if not re.fullmatch(f"({_SPAN.pattern})+", span):
        raise ValueError(f"{span!r} is no duration of Prometheus")
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in _SPAN.findall(span))
    return f"{max(1, round(seconds / factor))}s"
