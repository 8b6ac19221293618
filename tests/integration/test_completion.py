"""Completion as the installed program does it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).parent / "metrics-worker"


def run(*command: str | Path, **variables: str) -> str:
    environment = os.environ | {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=True).stdout  # noqa: S603


def test_bash_completes_commands_and_options() -> None:
    bash = shutil.which("bash")
    assert bash
    program = """
        eval "$(metrics-worker completion bash)"
        complete -p metrics-worker >&2
        complete_words() { COMP_WORDS=(metrics-worker "$@"); COMP_CWORD=$#; COMPREPLY=()
            _metrics_worker_completion metrics-worker; echo "${COMPREPLY[@]}"; }
        complete_words dlq dis
        complete_words replay --dry
        complete_words completion ""
    """
    assert run(bash, "-euc", program).splitlines() == ["discard", "--dry-run", "bash zsh fish"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_each_shell_asks_the_program_by_a_variable_that_it_answers(shell: str) -> None:
    script = run(PROGRAM, "completion", shell)
    assert f"_METRICS_WORKER_COMPLETE={shell}_complete" in script
    words = {"COMP_WORDS": "metrics-worker dlq dis", "COMP_CWORD": "dis" if shell == "fish" else "2"}
    assert "discard" in run(PROGRAM, _METRICS_WORKER_COMPLETE=f"{shell}_complete", **words)
