"""`metrics-worker plan`: measure events on this machine, and plan workers, partitions and batches. Writes nothing."""

from io import BufferedReader
from shutil import get_terminal_size
from time import time

import click

from worker.commands.command_line import (
    json_option,
    load_optional_settings,
    load_settings,
    print_json,
    print_stderr,
)
from worker.commands.help_page import format_examples
from worker.commands.plan_inputs import Given, gather_inputs, read_topic
from worker.commands.standard_streams import InputFile
from worker.core.escaping import escape_control_characters
from worker.core.process import relax_garbage_collection
from worker.planning.plan_warnings import find_warnings
from worker.planning.report import describe_plan, format_report
from worker.planning.sample import Sample, sample_lines
from worker.settings.loading import RequiredVariable
from worker.validation.line_reader import read_lines

_MAX_BYTES = 1_048_576
_MAX_CHARACTERS = 500
_CLOUDEVENTS_HEADERS = (("content-type", b"application/cloudevents+json"),)

_EXAMPLES = format_examples(
    "metrics-worker plan",
    "metrics-worker plan events.jsonl --rate 20000 --partitions 12 --lag 0",
)


@click.command(epilog=_EXAMPLES)
@click.argument("file", type=InputFile(), required=False)
@click.option("--cloudevents", is_flag=True, help="Each line of FILE is a structured CloudEvent.")
@click.option("--rate", type=click.IntRange(0, 10**9), help="Events a second to plan for, instead of those of now.")
@click.option("--partitions", type=click.IntRange(1, 10**6), help="Partitions of the topic, instead of asking Kafka.")
@click.option("--lag", type=click.IntRange(0, 10**15), help="Events that wait, instead of asking Kafka.")
@json_option("Print one JSON object, on a terminal too.")
def plan(
    *,
    file: BufferedReader | None,
    cloudevents: bool,
    rate: int | None,
    partitions: int | None,
    lag: int | None,
    as_json: bool,
) -> None:
    """Plan workers, partitions, batches and disk, from what events cost on this machine.

    Measures what decoding and encoding the first events of FILE (JSON lines, - for standard input)
    take, or the newest events of the topic. Reads rate, partitions and lag from Kafka, and the table from ClickHouse;
    what cannot be read is named. With FILE and --rate no server is needed. Plan with --rate for your busiest hour.
    """
    settings = load_settings(RequiredVariable.KAFKA) if file is None else load_optional_settings()
    facts = read_topic(settings, Given(rate, partitions, lag), with_sample=file is None)
    if file is None:
        sample = Sample(f"the newest of topic {settings.kafka_topic}", facts.records)
    else:
        source = f"the first of {escape_control_characters(str(getattr(file, 'name', '-')), _MAX_CHARACTERS)}"
        headers = _CLOUDEVENTS_HEADERS if cloudevents else ()
        sample = sample_lines(source, read_lines(file, _MAX_BYTES), int(time() * 1_000), headers)
    if not sample.records:
        raise click.UsageError(f"there are no events to measure: {sample.source}")
    relax_garbage_collection()
    inputs = gather_inputs(settings, sample, facts)
    planned = inputs.plan()
    warnings = [*find_warnings(inputs, planned)]
    if as_json:
        print_json(describe_plan(inputs, planned, warnings))
        return
    for line in format_report(inputs, planned, get_terminal_size().columns):
        click.echo(line)
    for warning in warnings:
        print_stderr(f"warning: {warning}")
