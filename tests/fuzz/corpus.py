"""The records that are in every run: each edge value in each place of an event that is otherwise valid."""

from base64 import b64encode
from collections.abc import Callable, Iterator
from random import Random
from uuid import UUID

from tests.fuzz import edge_values
from tests.fuzz.amplified import AMPLIFIED
from tests.fuzz.document import Document, build_event, make_valid_document
from tests.fuzz.fuzz_record import BASE_TIME, FuzzRecord, Headers
from tests.fuzz.oversized import OVERSIZED

Builder = Callable[[Random], FuzzRecord]
Entry = tuple[str, Builder]
LARGE = "large"
"""The name of the entries whose records have names of their own."""
_ID = '"execution_id"'
_FIELDS = (
    "execution_id", "agent_name", "user_id", "labels", "metrics", "completed_at", "schema_version", "status",
)  # fmt: skip
_FIELD_VALUES = (
    ("completed_at", edge_values.TIMES), ("completed_at", edge_values.EPOCHS), ("labels", edge_values.LABELS),
    ("schema_version", edge_values.VERSIONS),
)  # fmt: skip

# Found by fuzzing or by review.
_FOUND: dict[str, Callable[[Document], bytes]] = {
    "981 levels, and a NaN beside them": lambda event: _with_metric(event, "[" * 979 + "]" * 979 + ',"x":NaN'),
    "1,024 levels, and a NaN beside them": lambda event: _with_metric(event, "[" * 1_022 + "]" * 1_022 + ',"x":NaN'),
    "1,025 levels, and a NaN beside them": lambda event: _with_metric(event, "[" * 1_023 + "]" * 1_023 + ',"x":NaN'),
    "1,024 levels": lambda event: _with_metric(event, "[" * 1_022 + "]" * 1_022),
    "a lone surrogate in a name that is skipped": lambda event: _with_metric(event, '1,"\\ud800":"x"'),
    "the same name with and without an escape": lambda event: _with_metric(event, '1,"od\\u0064":2'),
    "no bytes at all": lambda _: b"",
    "UTF-16": lambda event: event.text().encode("utf-16", "replace"),
    "a byte order mark": lambda event: b"\xef\xbb\xbf" + event.encoded(),
    "a surrogate in UTF-8": lambda event: _with_metric(event, '"\ud800"'),
    "an overlong slash": lambda event: event.encoded().replace(b'"agent_name":"', b'"agent_name":"\xc0\xaf'),
}


def _with_metric(event: Document, text: str) -> bytes:
    event.add_metric('"odd"', text)
    return event.encoded()


def _entries() -> Iterator[Entry]:
    for name, make in _FOUND.items():
        yield name, _record(make)
    for make_large in (*OVERSIZED, *AMPLIFIED):
        yield LARGE, make_large
    yield from _values()
    yield from _labels()
    yield from _surroundings()


def _record(
    make: Callable[[Document], bytes | None] = Document.encoded,
    *,
    key: bytes | None = None,
    headers: Headers = (),
    timestamp: int = BASE_TIME,
) -> Builder:
    return lambda random: FuzzRecord("", make(make_valid_document(random)), key, headers, timestamp)


def _field(name: str, text: str) -> Builder:
    return _edited(lambda document: document.set(name, text))


def _metric(name: str, text: str) -> Builder:
    return _edited(lambda document: document.add_metric(name, text))


def _id(position: int) -> Builder:
    def edit(document: Document, random: Random) -> None:
        document.set(_ID, edge_values.ids(str(UUID(int=random.getrandbits(128))))[position])

    return lambda random: FuzzRecord("", build_event(lambda document: edit(document, random))(random))


def _edited(edit: Callable[[Document], None]) -> Builder:
    build = build_event(edit)
    return lambda random: FuzzRecord("", build(random))


def _values() -> Iterator[Entry]:
    """Every edge value in every place of an event."""
    anything = (*edge_values.VALUES, *edge_values.NUMBERS, *edge_values.NOT_JSON)
    for field in _FIELDS:
        for text in anything:
            yield f"{field}: {text[:40]}", _field(f'"{field}"', text)
    for field, texts in _FIELD_VALUES:
        for text in texts:
            yield f"{field}: {text[:40]}", _field(f'"{field}"', text)
    for name in edge_values.NAMES:
        yield f"agent {name[:40]}", _field('"agent_name"', name)
        yield f"user {name[:40]}", _field('"user_id"', name)
        yield f"field {name[:40]}", _field(name, "1")
        for text in ("1", "18446744073709551615", "NaN", '"x"', "true"):
            yield f"metric {name[:40]}: {text}", _metric(name, text)
    for text in anything:
        yield f"metric: {text[:40]}", _metric('"odd"', text)
    for text in edge_values.NUMBERS:
        yield f"execution_time_ms: {text[:40]}", _metric('"execution_time_ms"', text)
    for position in range(len(edge_values.ids(""))):
        yield f"id {position}", _id(position)


def _labels() -> Iterator[Entry]:
    """Every unusual name and value of a label beside a valid one."""
    for name in edge_values.NAMES:
        for text in ('"v"', "1", '"\\ud800"'):
            yield f"label {name[:40]}: {text}", _field('"labels"', f'{{"model":"m",{name}:{text}}}')
    for text in (*edge_values.VALUES, *edge_values.NUMBERS, *edge_values.NOT_JSON):
        yield f"label: {text[:40]}", _field('"labels"', f'{{"model":"m","odd":{text}}}')


def _surroundings() -> Iterator[Entry]:
    """Every unusual key, timestamp, header and envelope around a valid event."""
    for position, headers in enumerate(edge_values.HEADERS):
        yield f"headers {position}", _record(headers=headers)
        yield f"headers {position}, no event", _record(lambda _: b"{", headers=headers)
        yield f"headers {position}, tombstone", _record(lambda _: None, headers=headers)
    for position, key in enumerate(edge_values.KEYS):
        for value in (None, b"", b"{", b"\xff"):
            yield f"key {position}, {value!r}", _record(lambda _, value=value: value, key=key)  # type: ignore[misc]
        yield f"key {position}", _record(key=key)
    for timestamp in edge_values.TIMESTAMPS:
        yield f"timestamp {timestamp}", _record(timestamp=timestamp)
        yield f"timestamp {timestamp}, with completed_at", _record(_with_time, timestamp=timestamp)
        yield f"timestamp {timestamp}, no event", _record(lambda _: b"[", timestamp=timestamp)
        yield f"timestamp {timestamp}, tombstone", _record(lambda _: None, timestamp=timestamp)
    for content_type in edge_values.STRUCTURED:
        for position in range(len(edge_values.ENVELOPES)):
            yield f"{content_type!r} {position}", _put_into_envelope(content_type, position)


def _with_time(document: Document) -> bytes:
    document.set('"completed_at"', '"2026-09-01T00:00:00Z"')
    document.add_metric('"odd"', "NaN")
    return document.encoded()


def _put_into_envelope(content_type: bytes, position: int) -> Callable[[Random], FuzzRecord]:
    return lambda random: FuzzRecord(
        "",
        fill_envelope(edge_values.ENVELOPES[position], make_valid_document(random).encoded()),
        headers=(("content-type", content_type),),
    )


def fill_envelope(around: str, event: bytes) -> bytes:
    """Put an event into one of `edge_values.ENVELOPES`."""
    return around.encode("utf-8", "surrogatepass").replace(b"#", b64encode(event)).replace(b"@", event)


CORPUS: tuple[Entry, ...] = tuple(_entries())
