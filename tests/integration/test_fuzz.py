"""The fuzzer as a whole, on a few records: it passes on the worker, and fails where the worker's work is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.local.process import REPOSITORY
from deploy.local.stack import Stack
from tests.fuzz.audit import audit
from tests.fuzz.generate import make
from tests.fuzz.ledger import Ledger, Place
from tests.fuzz.outcome import Outcome
from tests.fuzz.owed import owed
from tests.fuzz.sending import Sender

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20260901
NUMBERS = range(8_950, 9_050)
"""A hostile batch is among them."""


def nobody(_: int) -> None:
    pass


async def sent(stack: Stack) -> Ledger:
    ledger = Ledger()
    async with Sender(stack.broker.bootstrap_servers, stack.topic, 4, ledger) as sender:
        await sender.send(((number, make(SEED, number)) for number in NUMBERS), nobody)
    return ledger


async def test_records_that_nobody_has_taken_are_complained_of(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        ledger = await sent(stack)
        outcome = Outcome(SEED)
        await audit(stack, "nobody", ledger, tmp_path, outcome, nobody)
    assert (ledger.records, outcome.events + outcome.no_events + outcome.tombstones) == (100, 100)
    assert not outcome.passed
    assert "is committed up to None" in outcome.examples[0]
    debts = [owed(make(SEED, number), Place(0, 0)).reading for number in NUMBERS]
    readings = [reading for reading in debts if reading is not None]
    rows = sum(len(reading.rows) for reading in readings)
    letters = sum(len(reading.refused) if reading.owner else 1 for reading in readings)
    types = {json_type for reading in readings for json_type in reading.skipped}
    assert outcome.problems == len(ledger.ends) + rows + letters + len(types)
    assert len(outcome.guilty) == 50, "no more are named than anybody would look at"


def test_the_command_passes_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    records = 400  # with a hostile batch among them
    arguments = f"--seed {SEED} --first 8950 --records {records} --in-process {records}"
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
