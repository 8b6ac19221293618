"""A command starts without the packages that it does not use: importing all of them takes most of its start."""

import json
import subprocess
import sys

import pytest

HEAVY = {"aiokafka", "clickhouse_driver", "jinja2", "opentelemetry", "pydantic", "starlette", "structlog", "waitress"}
PROGRAM = f"""
import json, sys
from worker.cli import cli

cli.main(json.loads(sys.argv[1]), standalone_mode=False)
print(json.dumps(sorted(set(sys.modules) & {HEAVY})), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ([], set()),
        (["validate"], {"pydantic", "structlog"}),
        (["dlq", "list"], {"aiokafka", "pydantic", "structlog"}),
        (["migrate"], {"clickhouse_driver", "pydantic", "structlog"}),
        (["run"], {"aiokafka", "clickhouse_driver", "pydantic", "structlog", "waitress"}),
    ],
    ids=lambda value: " ".join(value) or "no command" if isinstance(value, list) else "",
)
def test_command_imports_only_what_it_uses(words: list[str], allowed: set[str]) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", PROGRAM, json.dumps([*words, "--help"])], capture_output=True, check=True, timeout=60
    )
    assert set(json.loads(done.stderr)) == allowed
