"""`python -m deploy.local console`, as a process."""

import re
from pathlib import Path

import httpx

from tests.support.console import parse_page, texts
from tests.support.local import run_local_program, wait_until


def test_printed_address_shows_the_mistakes_of_careless_producers_and_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with run_local_program(tmp_path, "console", "--count", "200", "--port", "0") as printed:
        address = re.search(r"The console: (http://127\.0\.0\.1:\d+/)", "".join(printed))
        assert address is not None, printed

        def read() -> str:
            return texts(parse_page(httpx.get(address[1], timeout=20).text))

        mistakes = ("InvalidJSON", "VIOLATED_CONSTRAINT (469), metric execution_time_ms", "too_large")
        wait_until(lambda: all(each in read() for each in mistakes), "the dead letters", 60)
