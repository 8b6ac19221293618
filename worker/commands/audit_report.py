"""The output of an audit."""

import click

from worker.audit.findings import AuditCounts, AuditFinding
from worker.commands.command_line import print_json
from worker.core.escaping import escape_control_characters

_MAX_NAME_CHARACTERS = 80
_MAX_REASON_CHARACTERS = 200


def print_json_finding(finding: AuditFinding) -> None:
    """Print a finding as one JSON object."""
    print_json(
        {
            "finding": finding.kind,
            "source": {"partition": finding.partition, "offset": finding.offset},
            "execution_id": finding.execution_id,
            "metric": finding.metric,
            "detail": finding.detail,
        }
    )


def print_finding(finding: AuditFinding) -> None:
    """Print a finding as a line of text."""
    metric = finding.metric
    name = "the whole record" if metric is None else f'"{escape_control_characters(metric, _MAX_NAME_CHARACTERS)}"'
    execution = finding.execution_id
    owner = "" if execution is None else f" of {escape_control_characters(execution, _MAX_NAME_CHARACTERS)}"
    source = f"{finding.partition}:{finding.offset}"
    click.echo(f"{finding.kind}: {name}{owner} at {source}: {escape_control_characters(finding.detail)}")


def print_counts(counts: AuditCounts) -> None:
    """Print the sums as a table, and the reasons of what was discarded."""
    click.echo(
        f"{counts.records:,} records: {counts.events:,} events, {counts.tombstones:,} tombstones; "
        f"{counts.gone:,} gone, {counts.expired:,} expired"
    )
    for name, count in (
        ("in the view", counts.in_view),
        ("superseded", counts.superseded),
        ("dead letters", counts.dead_lettered),
        ("discarded", counts.discarded.total()),
        ("edited", counts.edited),
        ("skipped", counts.skipped.total()),
        ("missing", counts.missing),
        ("different", counts.different),
    ):
        click.echo(f"{name:<12}  {count:>14,}")
    for reason, count in counts.discarded.most_common():
        click.echo(f"{count:,} discarded: {escape_control_characters(reason, _MAX_REASON_CHARACTERS)}")
