"""`make fuzz` itself: it passes with the worker. Its oracle is that of `test_chaos_verification.py`."""

import json
import subprocess
import sys
from pathlib import Path

from deploy.local.process import REPOSITORY


def test_the_command_passes_and_prints_how_to_repeat_it(tmp_path: Path) -> None:
    records = 400  # with an unparsable batch among them
    arguments = f"--seed 20260901 --first 8950 --records {records} --in-process {records}"
    finished = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "tests.fuzz", *arguments.split(), "--json", "--keep", str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
    )
    assert finished.returncode == 0, finished.stderr
    figures = json.loads(finished.stdout)
    assert figures["passed"]
    assert figures["command"] == f"python -m tests.fuzz {arguments}"
    assert figures["events"] + figures["tombstones"] + figures["no_events"] == figures["records"] == records
    assert figures["rows"] > records
    assert not [*tmp_path.iterdir()], "a run that passes keeps nothing"
