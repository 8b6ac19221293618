"""`make fuzz` itself: it passes with the worker, and fails where the worker's results are missing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.local.demo.expectations import RecordPosition
from deploy.local.process import REPOSITORY
from deploy.local.stack import Stack
from tests.fuzz.comparison import expect_result
from tests.fuzz.generate import make_record
from tests.fuzz.report import FuzzReport
from tests.fuzz.sender import Sender
from tests.fuzz.sent_records import SentRecords
from tests.fuzz.verification import verify_results

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20260901
NUMBERS = range(8_950, 9_050)
"""An unparsable batch is among them."""


async def test_records_without_results_are_problems(tmp_path: Path) -> None:
    async with Stack(tmp_path) as stack:
        sent = SentRecords()
        async with Sender(stack.broker.bootstrap_servers, stack.topic, 4, sent) as sender:
            await sender.send(((number, make_record(SEED, number)) for number in NUMBERS), lambda _: None)
        report = FuzzReport(SEED)
        await verify_results(stack, "no-worker", sent, tmp_path, report, lambda _: None)
    assert (sent.records, report.events + report.no_events + report.tombstones) == (100, 100)
    assert not report.passed
    assert "is committed up to 0" in report.examples[0]
    expected = [expect_result(make_record(SEED, number), RecordPosition(0, 0)).reading for number in NUMBERS]
    readings = [reading for reading in expected if reading is not None]
    rows = sum(len(reading.rows) for reading in readings)
    letters = sum(len(reading.refused) if reading.owner else 1 for reading in readings)
    types = {json_type for reading in readings for json_type in reading.skipped}
    assert report.problems == len(sent.ends) + rows + letters + len(types)
    assert len(report.guilty) == 50, "the report names 50 records at most"


def test_the_command_passes_and_prints_how_to_repeat_it(tmp_path: Path) -> None:
    records = 400  # with an unparsable batch among them
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
