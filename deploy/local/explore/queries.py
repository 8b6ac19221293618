"""Three queries of schemas/QUERIES.md as commands to paste: clickhouse-driver has no client for the shell."""

from __future__ import annotations

import shlex
import sys

from deploy.cookbook import recipes, with_time_range
from deploy.local.explore.month import DAYS

QUERIES = {
    "What did each model cost, and one execution with it?": "cost_by_model",
    "Which agent is slow in one of a hundred executions? (milliseconds)": "p99_per_agent",
    "What was paid for executions that failed, by kind of error?": "cost_of_failures",
}
"""Question and name of a query whose only dates are a range of time."""


def query_commands(host: str, port: int, database: str) -> dict[str, str]:
    """For each question a line for the shell that prints the rows of the answer."""
    texts = recipes()
    return {question: _command(_one_line(texts[name].text), host, port, database) for question, name in QUERIES.items()}


def _one_line(text: str) -> str:
    return " ".join(with_time_range(text, f"now() - INTERVAL {DAYS} DAY", "now()").split())


def _command(query: str, host: str, port: int, database: str) -> str:
    """In double quotes for the shell, and the query in triple quotes, because queries have single ones."""
    client = f"Client('{host}', {port}, database='{database}')"
    code = f"from clickhouse_driver import Client; print(*{client}.execute('''{query}'''), sep='\\n')"
    return f'{shlex.quote(sys.executable)} -c "{code}"'
