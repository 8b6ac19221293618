"""Dead letters as JSON objects: what `dlq` prints for programs, and the console shows. No byte is lost."""

from base64 import b64encode

from worker.core.model import Edit
from worker.core.times import format_rfc3339
from worker.dead_letters.advice import ADVICE
from worker.dead_letters.causes import find_cause_id
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.history import Operation
from worker.dead_letters.settlement import Settled, Settlement
from worker.dead_letters.statistics import CauseGroup, CauseStatistics, DeadLetterStatistics, TopCounter
from worker.dead_letters.value import parse_agent_name

Document = dict[str, object]


def describe_in_short(letter: DeadLetter | ForeignRecord) -> Document:
    """What `dlq list` prints: everything but the contents of a dead letter."""
    if isinstance(letter, ForeignRecord):
        return _describe_foreign_record(letter)
    topic, partition, offset = letter.source
    failure = letter.failure
    return {
        "place": str(letter.position),
        "failed_at": format_rfc3339(letter.failed_at),
        "kind": letter.kind,
        "cause": find_cause_id(letter),
        "error_class": failure.error_class.value,
        "error_type": failure.error_type,
        "error_code": failure.code,
        "error_message": failure.message,
        "metric": letter.metric,
        "agent": parse_agent_name(letter),
        "execution_id": letter.execution_id,
        "attempts": letter.attempts,
        "isolated": failure.isolated,
        "replays": letter.replays,
        "source": {"topic": topic, "partition": partition, "offset": offset, "timestamp": letter.source_timestamp},
    }


def describe_in_full(letter: DeadLetter | ForeignRecord, settled: Settled) -> Document:
    """What `dlq show` and `export` print: everything."""
    if isinstance(letter, ForeignRecord):
        return _describe_foreign_record(letter) | _describe_settled(settled)
    advice = ADVICE[letter.failure.error_class]
    return {
        **describe_in_short(letter),
        "table": letter.table,
        "worker": letter.worker_version,
        "replaces": None if letter.replaces is None else str(letter.replaces),
        "part_of": None if letter.part_of is None else str(letter.part_of),
        "edit": None if letter.edit is None else _describe_edit(letter.edit),
        **_describe_settled(settled),
        "meaning": advice.meaning,
        "to_do": advice.instructions,
        "key": _encode_bytes(letter.record.key),
        "value": _encode_bytes(letter.record.value),
        "source_headers": [[name, _encode_bytes(value)] for name, value in letter.source_headers],
    }


def describe_operation(operation: Operation) -> Document:
    """What `dlq history` prints."""
    return {
        **_describe_settlement(operation.entry),
        "dead_letters": operation.letters,
        "outcome": None if operation.entry.outcome is None else dict(operation.entry.outcome),
    }


def _describe_settled(settled: Settled) -> Document:
    return {
        "settled": bool(settled),
        "settlement": None if isinstance(settled, bool) else _describe_settlement(settled),
    }


def _describe_settlement(entry: Settlement) -> Document:
    return {
        "action": entry.action.value,
        "operation": entry.operation,
        "by": entry.by,
        "at": format_rfc3339(entry.at),
        "why": entry.why,
        "edit": entry.edit,
        "command": entry.command,
    }


def _describe_edit(edit: Edit) -> Document:
    return {
        "by": edit.by,
        "expression": edit.expression,
        "original": str(edit.original),
        "original_sha256": edit.original_sha256,
    }


def describe_statistics(statistics: DeadLetterStatistics, top: int) -> Document:
    """What `dlq stats` prints: of each dimension the `top` values, and how many dead letters have others."""
    return {
        "total": statistics.total,
        "foreign": statistics.foreign,
        "replayed_before": statistics.replayed,
        "most_replays": statistics.most_replays,
        "oldest": None if statistics.oldest is None else format_rfc3339(statistics.oldest),
        "newest": None if statistics.newest is None else format_rfc3339(statistics.newest),
        **{f"by_{name}": _describe_counts(name, counter, top) for name, counter in statistics.by.items()},
    }


def describe_causes(statistics: CauseStatistics, top: int) -> Document:
    """What `dlq causes` prints."""
    return {
        "total": statistics.total,
        "foreign": statistics.foreign,
        "causes": [describe_cause(group) for group in statistics.most_common(top)],
        "rest": statistics.count_others(top),
    }


def describe_cause(group: CauseGroup) -> Document:
    """A cause and its dead letters."""
    cause = group.cause
    return {
        "cause": cause.id,
        "count": group.count,
        "error_class": cause.error_class.value,
        "error_type": cause.error_type,
        "error_code": cause.code,
        "metric": cause.metric,
        "message": cause.message,
        "oldest": format_rfc3339(group.oldest),
        "newest": format_rfc3339(group.newest),
        "agents": list(group.agents),
        "has_more_agents": group.has_more_agents,
        "example": str(group.example),
        "to_do": ADVICE[cause.error_class].instructions,
    }


def _describe_foreign_record(item: ForeignRecord) -> Document:
    return {
        "place": str(item.position),
        "foreign": item.reason,
        "key": _encode_bytes(item.record.key),
        "value": _encode_bytes(item.record.value),
        "headers": [[name, _encode_bytes(value)] for name, value in item.record.headers],
    }


def _describe_counts(dimension: str, counter: TopCounter, top: int) -> Document:
    values = [{"value": _convert(dimension, value), "count": count} for value, count in counter.most_common(top)]
    return {"top": values, "rest": counter.count_others(top)}


def _convert(dimension: str, value: str | None) -> str | int | None:
    if value is None:
        return None
    return format_rfc3339(int(value)) if dimension == "hour" else int(value) if dimension == "code" else value


def _encode_bytes(value: bytes | None) -> Document | None:
    """UTF-8 as text and other bytes in base64, so that no byte is lost."""
    if value is None:
        return None
    try:
        return {"text": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode("ascii")}
