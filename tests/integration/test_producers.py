"""The producers of schemas/README.md, run as they stand there."""

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from deploy.local.environment import without_settings
from tests.support.events import Record
from tests.support.topic import read
from worker.fanout import FanOut

_BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
PRODUCERS: dict[str, str] = dict(_BLOCK.findall(files("schemas").joinpath("README.md").read_text("utf-8")))
COMMANDS = {"sh": ["sh", "-euc"], "python": [sys.executable, "-c"]}


@pytest.mark.parametrize(("language", "rows"), [("sh", 1), ("python", 2)])
async def test_a_producer_of_the_documentation_sends_what_becomes_rows(
    environment: dict[str, str], language: str, rows: int
) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(  # noqa: S603, ASYNC221 - what the documentation says; nothing else is to be done meanwhile
        [*COMMANDS[language], PRODUCERS[language]],
        env=without_settings() | environment | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (record,) = await read(environment["KAFKA_BOOTSTRAP_SERVERS"], environment["KAFKA_TOPIC"], 1)
    assert record.key.decode() == json.loads(record.value)["execution_id"]
    fanned = FanOut()
    fanned.add(Record(record.value))
    assert (fanned.rows, fanned.failed) == (rows, [])
