"""`python -m deploy.local console`, as a process."""

import os
import re
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import httpx

from deploy.local.process import REPOSITORY
from tests.support.console import parse_page, texts
from tests.support.local import find_processes, wait_until


def test_printed_address_shows_the_mistakes_of_careless_producers_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    with (tmp_path / "log").open("w+") as stderr:
        running = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "console", "--count", "200", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(folder), "KAFKA_TOPIC": "elsewhere"},
        )
        assert running.stdout is not None
        try:
            printed = "".join(takewhile(lambda line: "Ctrl-C" not in line, running.stdout))
            address = re.search(r"The console: (http://127\.0\.0\.1:\d+/)", printed)
            assert address is not None, printed

            def read() -> str:
                return texts(parse_page(httpx.get(address[1], timeout=20).text))

            mistakes = ("InvalidJSON", "VIOLATED_CONSTRAINT (469), metric execution_time_ms", "too_large")
            wait_until(lambda: all(each in read() for each in mistakes), "the dead letters", 60)
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=30)
        finally:
            running.kill()
        assert "Traceback" not in Path(stderr.name).read_text()

    assert running.returncode == 0
    assert find_processes(str(folder)) == []
    assert list(folder.iterdir()) == []
