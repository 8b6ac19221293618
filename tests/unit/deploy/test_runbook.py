"""The runbook covers every cause of a hold, and its commands exist.

`tests/unit/dead_letters/test_error_classes.py` requires a section for every error class.
"""

import re
import shlex
from pathlib import Path

import click
import pytest

from tests.support.markdown import anchor, prose, sections
from worker.cli import cli
from worker.core.hold import Cause

RUNBOOK = (Path(__file__).parents[3] / "deploy" / "RUNBOOK.md").read_text("utf-8")
SECTIONS = sections(RUNBOOK)
_CODE_BLOCKS = re.findall(r"^```\n(.*?)^```", RUNBOOK, re.MULTILINE | re.DOTALL)
_CODE_LINES = [line for block in _CODE_BLOCKS for line in block.splitlines()]
_CODE_SPANS = re.findall(r"`([^`\n]+)`", prose(RUNBOOK))
COMMANDS = sorted(
    {
        code.partition(" -- ")[2] if " -- metrics-worker " in code else code[code.index("metrics-worker ") :]
        for code in [*_CODE_LINES, *_CODE_SPANS]
        if "metrics-worker " in code
    }
)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_of_a_hold_has_a_complete_section(cause: Cause) -> None:
    heading = f"The worker holds: {cause.value}"
    text = SECTIONS.get(anchor(heading), "")
    missing = [part for part in ("What it means", "How to see it", "What to do") if f"**{part}.**" not in text]
    assert missing == [], f"deploy/RUNBOOK.md, ### {heading}: add a section with these parts in bold"


def test_part_on_dead_letters_is_short_and_begins_with_ten_commands() -> None:
    """`tests/integration/test_runbook_causes.py` runs the ten; what an operator need not know is in DEAD_LETTERS.md."""
    part = RUNBOOK.partition("\n## Dead letters\n")[2].partition("\n## ")[0]
    assert len(part.splitlines()) < 120
    commands = part.split("```\n")[1].splitlines()
    assert len(commands) == 10
    assert all(command.startswith("metrics-worker ") for command in commands)


def test_runbook_has_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS)
def test_command_and_its_options_exist(command: str) -> None:
    words = shlex.split(command, comments=True)[1:]
    found: click.Command = cli
    context = click.Context(cli, info_name="metrics-worker")
    while isinstance(found, click.Group) and (words or not found.invoke_without_command):
        name, subcommand, words = found.resolve_command(context, words)
        assert subcommand is not None
        found, context = subcommand, click.Context(subcommand, parent=context, info_name=name)
    found.make_context(context.info_name, words, parent=context.parent)


def test_commands_in_a_pod_need_only_the_worker_s_rights_and_program() -> None:
    assert [command for command in COMMANDS if command.startswith("metrics-worker migrate")] == []
    executed = [line for line in re.findall(r"kubectl exec [^`\n]*", RUNBOOK) if " -- " in line]
    assert [line for line in executed if " -- metrics-worker " not in line] == []


def test_keda_is_paused_while_all_workers_are_stopped() -> None:
    blocks = [block for block in _CODE_BLOCKS if "--replicas=0" in block]
    assert len(blocks) == 2
    for block in blocks:
        steps = ["keda.sh/paused=true", "--replicas=0", "kubectl scale --replicas=", "keda.sh/paused-"]
        found = [block.find(steps[0]), block.find(steps[1]), block.rfind(steps[2]), block.find(steps[3])]
        assert -1 not in found
        assert found == sorted(found)
