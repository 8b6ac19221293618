"""A dead letter for programs, as one JSON object, and nothing of it lost."""

from base64 import b64encode

from worker.dead_letters.advice import ADVICE
from worker.dead_letters.dead_letter import DeadLetter, ForeignRecord
from worker.dead_letters.statistics import DeadLetterStatistics, TopCounter
from worker.dead_letters.value import format_rfc3339, parse_agent_name

Document = dict[str, object]


def describe_in_short(letter: DeadLetter) -> Document:
    """What `dlq list` says of a letter: everything but the contents."""
    topic, partition, offset = letter.source
    failure = letter.failure
    return {
        "place": str(letter.position),
        "failed_at": format_rfc3339(letter.failed_at),
        "kind": letter.kind,
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


def describe_in_full(letter: DeadLetter, *, settled: bool) -> Document:
    """What `dlq show` says of a letter: everything."""
    advice = ADVICE[letter.failure.error_class]
    return {
        **describe_in_short(letter),
        "table": letter.table,
        "worker": letter.worker_version,
        "replaces": None if letter.replaces is None else str(letter.replaces),
        "part_of": None if letter.part_of is None else str(letter.part_of),
        "settled": settled,
        "meaning": advice.meaning,
        "to_do": advice.to_do,
        "key": _bytes(letter.record.key),
        "value": _bytes(letter.record.value),
        "source_headers": [[name, _bytes(value)] for name, value in letter.source_headers],
    }


def describe_statistics(tally: DeadLetterStatistics, top: int) -> Document:
    """What `dlq stats` says: of each kind the `top` values, and how many letters have others."""
    return {
        "total": tally.total,
        "foreign": tally.foreign,
        "replayed_before": tally.replayed,
        "most_replays": tally.most_replays,
        "oldest": None if tally.oldest is None else format_rfc3339(tally.oldest),
        "newest": None if tally.newest is None else format_rfc3339(tally.newest),
        **{f"by_{kind}": _counts(kind, counted, top) for kind, counted in tally.by.items()},
    }


def _counts(kind: str, counted: TopCounter, top: int) -> Document:
    values = [{"value": _value(kind, value), "count": count} for value, count in counted.most_common(top)]
    return {"top": values, "rest": counted.count_others(top)}


def _value(kind: str, value: str | None) -> str | int | None:
    if value is None:
        return None
    return format_rfc3339(int(value)) if kind == "hour" else int(value) if kind == "code" else value


def describe_foreign_record(item: ForeignRecord) -> Document:
    """A record that is no dead letter."""
    return {
        "place": str(item.position),
        "foreign": item.reason,
        "key": _bytes(item.record.key),
        "value": _bytes(item.record.value),
        "headers": [[name, _bytes(value)] for name, value in item.record.headers],
    }


def _bytes(value: bytes | None) -> Document | None:
    """As text where it is UTF-8, else in base64: both give the bytes back."""
    if value is None:
        return None
    try:
        return {"text": value.decode("utf-8")}
    except UnicodeDecodeError:
        return {"base64": b64encode(value).decode("ascii")}
