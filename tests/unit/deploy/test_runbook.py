"""The runbook knows every class of error and every reason for holding, and its commands exist."""

import re
import shlex
from pathlib import Path

import click
import pytest

from worker.cli import cli
from worker.core.errors import ErrorClass
from worker.core.hold import Cause
from worker.dead_letters.advice import ADVICE

RUNBOOK = (Path(__file__).parents[3] / "deploy" / "RUNBOOK.md").read_text("utf-8")
HEADINGS = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
_FENCED = re.findall(r"^```\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
_SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"^```\n.*?^```", "", RUNBOOK, flags=re.MULTILINE | re.DOTALL))
COMMANDS = sorted(
    {
        line[line.index(" -- metrics-worker ") + 4 if " -- metrics-worker" in line else line.index("metrics-worker ") :]
        for line in [*(line for block in _FENCED for line in block.splitlines()), *_SPANS]
        if "metrics-worker " in line
    }
)


def section(heading: str) -> str:
    return RUNBOOK.split(f"# {heading}\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize("heading", [*ErrorClass, *(f"The worker holds: {cause.value}" for cause in Cause)])
def test_every_class_and_every_cause_has_a_section_that_says_what_to_do(heading: str) -> None:
    text = section(heading)
    assert [word for word in ("What it means", "How to see it", "What to do") if f"**{word}.**" not in text] == []


@pytest.mark.parametrize("error_class", ErrorClass)
def test_the_runbook_says_what_dlq_show_says(error_class: ErrorClass) -> None:
    told = " ".join(section(error_class).replace("`", "").split())
    for sentence in ADVICE[error_class].meaning.removesuffix(".").split(". "):
        assert sentence.split("; ")[0] in told


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists_with_these_options(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    found: click.Command = cli
    context = click.Context(cli, info_name="metrics-worker")
    while isinstance(found, click.Group) and (words or not found.invoke_without_command):
        name, words = words[0], words[1:]
        following = found.get_command(context, name)
        assert following is not None, name
        found, context = following, click.Context(following, parent=context, info_name=name)
    found.make_context(context.info_name, words, parent=context.parent)


def test_every_link_leads_somewhere() -> None:
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADINGS}
    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOK)) <= anchors


def test_nothing_is_asked_of_a_worker_s_pod_that_it_cannot_do() -> None:
    assert not [command for command in COMMANDS if command.startswith("metrics-worker migrate")], "it may only insert"
    inside = re.findall(r"kubectl exec [^`\n]*", RUNBOOK)
    assert [line for line in inside if " -- " in line and " -- metrics-worker " not in line] == [], (
        "the image has no more"
    )


def test_the_scheduled_replay_is_mended_by_a_replay_of_the_same_class() -> None:
    replays = re.findall(r"`metrics-worker (?:replay|dlq list)([^`]*)`", section("The scheduled replay fails"))
    assert len(replays) == 2
    assert all("--error-class store_unavailable" in options for options in replays)
