"""`metrics-worker validate`: predict the result of events before they are sent. Needs no servers."""

from collections.abc import Iterator
from contextlib import suppress
from io import BufferedIOBase
from time import time

import click
from pydantic import TypeAdapter, ValidationError

from worker.commands.command_line import print_json, print_stderr
from worker.commands.help_page import format_examples
from worker.commands.standard_streams import InputFile
from worker.core.escaping import escape_control_characters
from worker.core.model import Failed
from worker.events.decode import EventPolicy
from worker.settings.types import LabelAttributes
from worker.validation.line_reader import read_lines
from worker.validation.validator import TOO_LARGE, EventWarning, ValidationResult, Validator

_MAX_BYTES = 1_048_576
_MAX_NAME_CHARACTERS = 80
_MOST_SKIPPED = 10
_WARNINGS = {
    EventWarning.NO_COMPLETED_AT: "without completed_at: a copy that is sent after midnight is another row",
    EventWarning.NO_OFFSET: "with a completed_at without an offset: it is read as UTC",
    EventWarning.NO_ROW: "without a row: no metric is a number or a boolean",
}
_MAX_FAILED = 20
"""Failures of one line that are printed as text; --json prints all."""
_CLOUDEVENTS_HEADERS = (("content-type", b"application/cloudevents+json"),)
_LABEL_ATTRIBUTES: TypeAdapter[str] = TypeAdapter(LabelAttributes)


def _parse_label_attributes(text: str) -> list[str]:
    try:
        return _LABEL_ATTRIBUTES.validate_python(text).split(",")
    except ValidationError as error:
        raise click.BadParameter(f"{text!a} is not source, traceparent, or both separated by a comma") from error


_EXAMPLES = format_examples(
    "metrics-worker validate events.jsonl",
    "metrics-worker validate --cloudevents --json - < events.jsonl | jq 'select(.refused)'",
)


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=InputFile())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each line of FILE.")
@click.option("-v", "--verbose", is_flag=True, help="Print every line of FILE, not only refused ones.")
@click.option("--cloudevents", is_flag=True, help="Each line is a structured CloudEvent.")
@click.option(
    "--max-bytes",
    default=_MAX_BYTES,
    show_default=True,
    type=click.IntRange(1, 2**30),
    help="The longest value that the topic takes.",
)
@click.option(
    "--max-age-days",
    envvar="EVENT_MAX_AGE_DAYS",
    default=EventPolicy.max_age_days,
    show_default=True,
    type=click.IntRange(0, 36_500),
    help="How many days ago the worker lets an event be completed; 0: at any time. EVENT_MAX_AGE_DAYS sets it too.",
)
@click.option(
    "--cloudevent-labels",
    envvar="EVENT_CLOUDEVENT_LABELS",
    type=_parse_label_attributes,
    metavar="NAMES",
    help="The attributes of CloudEvents that become labels. EVENT_CLOUDEVENT_LABELS sets them too.",
)
def validate(
    file: BufferedIOBase,
    *,
    as_json: bool,
    verbose: bool,
    cloudevents: bool,
    max_bytes: int,
    max_age_days: int,
    cloudevent_labels: list[str] | None,
) -> None:
    """Predict what the worker would do with the events in FILE (- for standard input), JSON lines.

    Reads them with the worker's own code, but without the constraints of the table. Exit code 1 when a metric or an
    event would be refused; what is skipped, or may be a mistake, is only a warning, on stderr.
    """
    headers = _CLOUDEVENTS_HEADERS if cloudevents else ()
    validator = Validator(int(time() * 1000), headers, EventPolicy(max_age_days, cloudevent_labels or ()))
    print_result = _print_json_result if as_json else _print_result
    with suppress(KeyboardInterrupt):  # ends an endless input
        for result in validator.validate(read_lines(file, max_bytes), include_valid=as_json or verbose):
            print_result(result)
    print_stderr(_format_summary(validator))
    if validator.refused:
        raise SystemExit(1)


def _print_json_result(result: ValidationResult) -> None:
    document = {
        "line": result.number,
        "refused": result.is_refused,
        "rows": result.rows,
        "skipped": result.skipped,
        "skipped_labels": result.skipped_labels,
        "warnings": list(result.warnings),
        "dead_lettered": [_failure_document(item) for item in result.failed],
    }
    if result.too_large:
        document["not_sent"] = {"error_type": TOO_LARGE, "bytes": result.too_large}
    print_json(document)


def _failure_document(item: Failed) -> dict[str, object]:
    return {
        "kind": item.kind,
        "metric": None if item.metric is None else _replace_surrogates(item.metric),
        "error_class": item.failure.error_class.value,
        "error_type": item.failure.error_type,
        "error_message": _replace_surrogates(item.failure.message),
    }


def _print_result(result: ValidationResult) -> None:
    parts = ["1 row" if result.rows == 1 else f"{result.rows} rows"]
    parts += _format_skipped(sorted(result.skipped.items()), sorted(result.skipped_labels.items()))
    parts += [_WARNINGS[warning].partition(":")[0] for warning in result.warnings]
    parts += [_format_failure(item) for item in result.failed[:_MAX_FAILED]]
    if len(result.failed) > _MAX_FAILED:
        parts.append(f"{len(result.failed) - _MAX_FAILED} more metrics would be dead letters (--json prints all)")
    if result.too_large:
        parts = [f"not sent: {result.too_large} bytes are more than the topic takes (--max-bytes)"]
    click.echo(f"line {result.number}: {'; '.join(parts)}")


def _format_failure(item: Failed) -> str:
    name = "the whole event"
    if item.metric is not None:
        name = f'metric "{escape_control_characters(item.metric, _MAX_NAME_CHARACTERS)}"'
    return (
        f"{name} would be a dead letter, {item.failure.error_type}: {escape_control_characters(item.failure.message)}"
    )


def _format_summary(validator: Validator) -> str:
    parts = [f"{validator.lines} events", f"{validator.rows} rows"]
    parts += _format_skipped(validator.skipped.most_common(), validator.skipped_labels.most_common())
    if validator.refused:
        parts.append(f"{validator.refused} events refused, wholly or in part")
        parts.append(_format_counts(validator.failed.most_common()))
    return "\n".join(["; ".join(parts), *_format_warnings(validator)])


def _format_warnings(validator: Validator) -> Iterator[str]:
    for warning, (count, first) in validator.warned.items():
        yield f"warning: {count} {'event' if count == 1 else 'events'} {_WARNINGS[warning]} (first: line {first})"
    most = [
        f'{kind} "{escape_control_characters(name, _MAX_NAME_CHARACTERS)}" {count} ({reason})'
        for (kind, name, reason), count in validator.skipped_items.most_common(_MOST_SKIPPED)
    ]
    if most:
        yield f"warning: skipped most: {', '.join(most)}"


def _format_skipped(metrics: list[tuple[str, int]], labels: list[tuple[str, int]]) -> Iterator[str]:
    if metrics:
        yield f"skipped {_format_counts(metrics)}"
    if labels:
        yield f"skipped labels: {_format_counts(labels)}"


def _format_counts(counts: list[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts)


def _replace_surrogates(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
