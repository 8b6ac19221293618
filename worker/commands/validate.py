"""`metrics-worker validate`: what would become of events, before they are sent. Needs no settings and no servers."""

from contextlib import suppress
from time import time
from typing import IO

import click

from worker.commands.command_line import print_json, print_stderr
from worker.core.escaping import escape_control_characters
from worker.core.model import Failed, FailedMetric
from worker.validation.line_reader import read_lines
from worker.validation.validator import TOO_LARGE, ValidationResult, Validator

_LARGEST = 1_048_576
_SHOWN = 80
_MAX_FAILED = 20
"""Failures of one line that are named for a person, who will not read a thousand."""
_STRUCTURED = (("content-type", b"application/cloudevents+json"),)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each line, whatever becomes of it.")
@click.option("-v", "--verbose", is_flag=True, help="Say something of every line, not only of those refused.")
@click.option("--cloudevents", is_flag=True, help="Each line is a structured CloudEvent.")
@click.option(
    "--max-bytes",
    default=_LARGEST,
    show_default=True,
    type=click.IntRange(1, 2**30),
    help="The longest value that the topic takes.",
)
def validate(file: IO[bytes], *, as_json: bool, verbose: bool, cloudevents: bool, max_bytes: int) -> None:
    """Say what would become of the events in FILE (- for standard input), JSON lines, if they were sent.

    Reads them as the worker does. What only the table can refuse (a constraint) it does not know. Exit code 1 when a
    metric or an event would be refused.
    """
    judge = Validator(int(time() * 1000), _STRUCTURED if cloudevents else ())
    put = _put_document if as_json else _put_text
    with suppress(KeyboardInterrupt):  # input without an end is ended like this
        for verdict in judge.judge(read_lines(file, max_bytes), all_of_them=as_json or verbose):
            put(verdict)
    print_stderr(_summary(judge))
    if judge.refused:
        raise SystemExit(1)


def _put_document(verdict: ValidationResult) -> None:
    document = {
        "line": verdict.number,
        "refused": verdict.is_refused,
        "rows": verdict.rows,
        "skipped": verdict.skipped,
        "dead_lettered": [_failure(item) for item in verdict.failed],
    }
    if verdict.too_large:
        document["not_sent"] = {"error_type": TOO_LARGE, "bytes": verdict.too_large}
    print_json(document)


def _failure(item: Failed) -> dict[str, object]:
    why = item.failure
    return {
        "kind": "metric" if isinstance(item, FailedMetric) else "event",
        "metric": _encodable(item.metric) if isinstance(item, FailedMetric) else None,
        "error_class": why.error_class.value,
        "error_type": why.error_type,
        "error_message": _encodable(why.message),
    }


def _put_text(verdict: ValidationResult) -> None:
    parts = [f"{verdict.rows} rows"] if verdict.rows != 1 else ["1 row"]
    if verdict.skipped:
        parts.append("skipped " + ", ".join(f"{count} {name}" for name, count in sorted(verdict.skipped.items())))
    parts += [_words(item) for item in verdict.failed[:_MAX_FAILED]]
    if len(verdict.failed) > _MAX_FAILED:
        parts.append(f"and {len(verdict.failed) - _MAX_FAILED} metrics more would be dead letters (--json names all)")
    if verdict.too_large:
        parts = [f"not sent: {verdict.too_large} bytes are more than the topic takes (--max-bytes)"]
    click.echo(f"line {verdict.number}: {'; '.join(parts)}")


def _words(item: Failed) -> str:
    why = f"{item.failure.error_type}: {escape_control_characters(item.failure.message)}"
    if isinstance(item, FailedMetric):
        return f'metric "{escape_control_characters(item.metric, _SHOWN)}" would be a dead letter, {why}'
    return f"the whole event would be a dead letter, {why}"


def _summary(judge: Validator) -> str:
    parts = [f"{judge.lines} events", f"{judge.rows} rows"]
    if judge.skipped:
        parts.append("skipped " + ", ".join(f"{count} {name}" for name, count in judge.skipped.most_common()))
    if judge.refused:
        parts.append(f"{judge.refused} events refused, whole or in part")
        parts.append(", ".join(f"{count} {name}" for name, count in judge.failed.most_common()))
    return "; ".join(parts)


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
