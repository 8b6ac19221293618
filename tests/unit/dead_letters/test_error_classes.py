"""A new error class must be added in every place that `worker.dead_letters.record_format` lists."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from worker.core.errors import ErrorClass
from worker.dead_letters.advice import ADVICE
from worker.observability.telemetry import Telemetry

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "deploy" / "kubernetes"
every_class = pytest.mark.parametrize("error_class", ErrorClass)


@every_class
def test_schema_names_and_describes_the_class(error_class: ErrorClass) -> None:
    schema = orjson.loads((ROOT / "schemas" / "dead_letter.schema.json").read_bytes())
    header = schema["$defs"]["headers"]["properties"]["dlq.error.class"]
    assert error_class.value in header["enum"]
    assert error_class.value in header["description"]


@every_class
def test_readme_says_what_becomes_of_such_a_failure(error_class: ErrorClass) -> None:
    rows = re.findall(r"^\|.*\|$", (ROOT / "schemas" / "README.md").read_text("utf-8"), re.MULTILINE)
    named = [row for row in rows if f"`{error_class.value}`" in row]
    assert named, f"schemas/README.md: no row of the tables names `{error_class.value}`"


@every_class
def test_advice_says_what_the_class_means_and_what_to_do(error_class: ErrorClass) -> None:
    assert error_class in ADVICE, "add it to worker/dead_letters/advice.py"
    advice = ADVICE[error_class]
    assert advice.meaning.endswith(".")
    assert advice.to_do.endswith(".")


@every_class
def test_runbook_has_a_section_that_explains_the_class_as_dlq_show_does(error_class: ErrorClass) -> None:
    runbook = (ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8")
    section = runbook.partition(f"\n### {error_class.value}\n")[2]
    assert section, f"deploy/RUNBOOK.md: no section ### {error_class.value}"
    text = " ".join(section.replace("`", "").split())
    assert error_class in ADVICE, "add it to worker/dead_letters/advice.py"
    first, *others = [sentence.split("; ")[0] for sentence in ADVICE[error_class].meaning.removesuffix(".").split(". ")]
    assert text.startswith(f"**What it means.** {first}")
    assert [sentence for sentence in others if sentence not in text] == []


@every_class
def test_counter_of_the_class_starts_at_zero(error_class: ErrorClass) -> None:
    registry = Telemetry().registry
    counts = [
        registry.get_sample_value("metrics_worker_dead_letters_total", {"kind": kind, "error_class": error_class.value})
        for kind in ("event", "metric")
    ]
    assert 0 in counts, "add it, with each kind that can have it, to worker/observability/telemetry.py"


def test_scheduled_replay_and_alert_agree_with_the_advice() -> None:
    """What is safe to automate is replayed by the CronJob, and needs no alert of its own."""
    automated = {item.value for item in ErrorClass if "safe to automate" in ADVICE[item].to_do}
    cron_job: Any = yaml.safe_load((KUBERNETES / "base" / "replay.yaml").read_text("utf-8"))
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    arguments = container["args"]
    assert {value for option, value in pairwise(arguments) if option == "--error-class"} == automated
    rules = (KUBERNETES / "components" / "prometheus" / "rules.yaml").read_text("utf-8")
    (excluded,) = re.findall(r'metrics_worker_dead_letters_total\{[^}]*error_class!(?:=|~)"([^"]*)"', rules)
    assert set(excluded.split("|")) == automated
