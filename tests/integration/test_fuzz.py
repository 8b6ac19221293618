"""The fuzzer as a whole, on a few records: it passes on the worker, and fails where the worker's work is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.local.process import REPOSITORY
from deploy.local.stack import Stack
from tests.fuzz.expected import expect_result
from tests.fuzz.generate import make_record
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender
from tests.fuzz.sent_records import RecordPosition, SentRecords
from tests.fuzz.verification import audit

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20260901
NUMBERS = range(8_950, 9_050)
"""A hostile batch is among them."""


def nobody(_: int) -> None:
    pass


async def send_records(stack: Stack) -> SentRecords:
    sent = SentRecords()
    async with Sender(stack.broker.bootstrap_servers, stack.topic, 4, sent) as sender:
        await sender.send(((number, make_record(SEED, number)) for number in NUMBERS), nobody)
    return sent


async def test_records_that_nobody_has_taken_are_complained_of(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        sent = await send_records(stack)
        report = FuzzReport(SEED)
        await audit(stack, "nobody", sent, tmp_path, report, nobody)
    assert (sent.records, report.events + report.no_events + report.tombstones) == (100, 100)
    assert not report.passed
    assert "is committed up to None" in report.examples[0]
    debts = [expect_result(make_record(SEED, number), RecordPosition(0, 0)).reading for number in NUMBERS]
    readings = [reading for reading in debts if reading is not None]
    rows = sum(len(reading.rows) for reading in readings)
    letters = sum(len(reading.refused) if reading.owner else 1 for reading in readings)
    types = {json_type for reading in readings for json_type in reading.skipped}
    assert report.problems == len(sent.ends) + rows + letters + len(types)
    assert len(report.guilty) == 50, "no more are named than anybody would look at"


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
