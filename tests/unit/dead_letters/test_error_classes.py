"""A new error class must be added in every place that CONTRIBUTING.md, "Add an error class", lists.

Each message begins with the file that lacks the class, and says what to write there.
"""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from deploy.local.demo.dead_letters import OUTAGE_CLASSES
from tests.support.markdown import anchor, sections
from worker.core.errors import ErrorClass
from worker.dead_letters.advice import ADVICE
from worker.observability.telemetry import Telemetry

ROOT = Path(__file__).parents[3]
RUNBOOK = sections((ROOT / "deploy" / "RUNBOOK.md").read_text("utf-8"))
REPLAY = "deploy/kubernetes/base/replay.yaml"
RULES = "deploy/kubernetes/monitoring/rules.yaml"
AUTOMATIC = {item.value for item in ErrorClass if item in ADVICE and ADVICE[item].is_automatic}
"""What the scheduled replay replays."""

every_class = pytest.mark.parametrize("error_class", ErrorClass)


@every_class
def test_schema_names_and_describes_the_class(error_class: ErrorClass) -> None:
    name = "schemas/dead_letter.schema.json"
    header = orjson.loads((ROOT / name).read_bytes())["$defs"]["headers"]["properties"]["dlq.error.class"]
    assert error_class.value in header["enum"], f"{name}: add {error_class} to the enum of dlq.error.class"
    assert error_class.value in header["description"], (
        f"{name}: say in the description of dlq.error.class what determines the remedy of {error_class}"
    )


@every_class
def test_readme_says_what_becomes_of_such_a_failure(error_class: ErrorClass) -> None:
    text = sections((ROOT / "schemas" / "README.md").read_text("utf-8"))["what-becomes-of-a-record"]
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    assert any(f"`{error_class.value}`" in row for row in rows), (
        f'schemas/README.md: add a row to "What becomes of a record" that names `{error_class.value}`'
    )


@every_class
def test_advice_says_what_the_class_means_and_what_to_do(error_class: ErrorClass) -> None:
    name = "worker/dead_letters/advice.py"
    assert error_class in ADVICE, f"{name}: add the meaning of {error_class} and what to do"
    for sentences in (ADVICE[error_class].meaning, ADVICE[error_class].to_do):
        assert sentences.endswith("."), f"{name}: end the sentences of {error_class} with a full stop"


def test_instructions_say_which_classes_are_safe_to_automate() -> None:
    said = {error_class.value for error_class, advice in ADVICE.items() if "safe to automate" in advice.instructions}
    assert said == AUTOMATIC


@every_class
def test_runbook_has_a_complete_section_that_explains_the_class_as_dlq_show_does(error_class: ErrorClass) -> None:
    name = f"deploy/RUNBOOK.md, ### {error_class.value}:"
    text = RUNBOOK.get(anchor(error_class.value), "")
    missing = [part for part in ("What it means", "What to do") if f"**{part}.**" not in text]
    assert missing == [], f"{name} add a section with these parts in bold"
    assert error_class in ADVICE, f"worker/dead_letters/advice.py: add {error_class}"
    advice = ADVICE[error_class]
    words = " ".join(text.replace("`", "").split())
    first, *others = [sentence.split("; ")[0] for sentence in advice.meaning.removesuffix(".").split(". ")]
    assert words.startswith(f"**What it means.** {first}"), f"{name} begin with the meaning in advice.py"
    assert [sentence for sentence in others if sentence not in words] == [], f"{name} say these sentences of advice.py"
    assert ("It is safe to automate" in words) is advice.is_automatic, f"{name} agree with is_automatic"


@every_class
def test_counter_of_the_class_starts_at_zero(error_class: ErrorClass) -> None:
    registry = Telemetry().registry
    counts = [
        registry.get_sample_value("metrics_worker_dead_letters_total", {"kind": kind, "error_class": error_class.value})
        for kind in ("event", "metric")
    ]
    assert 0 in counts, (
        f"worker/observability/metrics.py: add {error_class} to _ERROR_CLASSES, under each kind that can have it"
    )


def test_only_classes_of_valid_rows_are_automatic() -> None:
    assert AUTOMATIC <= OUTAGE_CLASSES, (
        "deploy/local/demo/dead_letters.py: add each class with is_automatic in advice.py to OUTAGE_CLASSES, because "
        "nothing is wrong with its metric"
    )


def test_scheduled_replay_replays_the_automatic_classes() -> None:
    cron_job: Any = yaml.safe_load((ROOT / REPLAY).read_text("utf-8"))
    (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    replayed = {value for option, value in pairwise(container["args"]) if option == "--error-class"}
    assert replayed == AUTOMATIC, f"{REPLAY}: --error-class in args must name each class with is_automatic in advice.py"


@pytest.mark.parametrize(
    ("alert", "series"),
    [
        ("MetricsWorkerDeadLetters", "dead_letters_total"),
        ("MetricsWorkerNewCause", "dead_letters_cause_first_seen_timestamp_seconds"),
    ],
)
def test_alert_excludes_the_automatic_classes(alert: str, series: str) -> None:
    """The scheduled replay settles them, and other alerts report an outage."""
    selectors = re.findall(rf"metrics_worker_{series}\{{([^}}]*)\}}", (ROOT / RULES).read_text("utf-8"))
    (excluded,) = {"".join(re.findall(r'error_class!(?:=|~)"([^"]*)"', selector)) for selector in selectors}
    assert set(excluded.split("|")) == AUTOMATIC, (
        f"{RULES}, {alert}: error_class!~ must name each class with is_automatic in advice.py, with | between them"
    )


@pytest.mark.parametrize("alert", ["MetricsWorkerReplayLeftLetters", "MetricsWorkerReplayOverdue"])
def test_alerts_on_the_scheduled_replay_name_its_classes(alert: str) -> None:
    (summary,) = re.findall(rf"alert: {alert}\n.*?summary: (.*?)\n", (ROOT / RULES).read_text("utf-8"), re.DOTALL)
    missing = [name for name in AUTOMATIC if name not in summary]
    assert missing == [], f"{RULES}, {alert}: name these classes in the summary"


def test_documents_of_the_scheduled_replay_name_its_classes() -> None:
    place = "deploy/RUNBOOK.md, The scheduled replay fails"
    section = RUNBOOK["the-scheduled-replay-fails"]
    bullet = (
        (ROOT / "deploy" / "kubernetes" / "README.md")
        .read_text("utf-8")
        .partition("- **The replay** ")[2]
        .partition("\n- ")[0]
    )
    for name, text in ((place, section), ("deploy/kubernetes/README.md, The replay", bullet)):
        missing = [item for item in AUTOMATIC if f"`{item}`" not in text]
        assert missing == [], f"{name}: name these classes, which the scheduled replay replays"
    commands = re.findall(r"`metrics-worker (?:replay|dlq list)([^`]*)`", section)
    assert len(commands) == 2, f"{place}: two commands list and replay what is left"
    for options in commands:
        named = set(re.findall(r"--error-class (\S+)", options))
        assert named == AUTOMATIC, f"{place}: both commands must name each class with is_automatic in advice.py"
