"""From a seed and a number to a record. Each can be made again by itself, whatever became of the others."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

from tests.fuzz import edge_values as edge_values
from tests.fuzz import mutate_bytes, mutate_structure
from tests.fuzz.corpus import CORPUS, envelope
from tests.fuzz.document import make_valid_document
from tests.fuzz.fuzz_record import BASE_TIME, FuzzRecord
from tests.fuzz.oversized import OVERSIZED

if TYPE_CHECKING:
    from collections.abc import Callable

OVERSIZED_EVERY = 10_000
HOSTILE_EVERY = 25_000
HOSTILE_BATCH = 7
"""Records of a batch that the Kafka client can read only to its middle."""
_HOSTILE_FROM = 9_000
_AGAIN_SHARE, _AGAIN_BLOCK = 0.001, 5_000
"""One record in a thousand is an event that others of its block carry too: the youngest of them gives the row."""
_CODECS = ("gzip", "snappy", "lz4", "zstd")
_MANY_RECORDS = 10_000_000


def make_record(seed: int, number: int) -> FuzzRecord:
    """Record `number` of the run `seed`: first the corpus, then mutations, giants and hostile batches among them."""
    random = Random(seed * _MANY_RECORDS + number)
    if number < len(CORPUS):
        name, build = CORPUS[number]
        built = build(random)
        return _stamped(built._replace(name=f"corpus: {name or built.name}"), number)
    within = number % HOSTILE_EVERY - _HOSTILE_FROM
    if 0 <= within < HOSTILE_BATCH:
        return _hostile(random, number, within)
    if number % OVERSIZED_EVERY == 0:
        built = OVERSIZED[number // OVERSIZED_EVERY % len(OVERSIZED)](random)
        return _stamped(built._replace(name=f"giant: {built.name}"), number)
    if random.random() < _AGAIN_SHARE:
        block = Random(2**80 + seed * _MANY_RECORDS + number // _AGAIN_BLOCK)
        return _dressed(random, number, FuzzRecord("the same event again", make_valid_document(block).encoded()))
    return _dressed(random, number, _value(random))


def _stamped(record: FuzzRecord, number: int) -> FuzzRecord:
    if record.value is None and record.key is None:
        record = record._replace(key=b"gone")  # aiokafka sends nothing without both
    return record if record.timestamp != BASE_TIME else record._replace(timestamp=BASE_TIME + number)


def _hostile(random: Random, number: int, within: int) -> FuzzRecord:
    """One of a batch whose middle has a header with a name that is not UTF-8; in such a batch all may be null."""
    value = random.choice((None, make_valid_document(random).encoded(), b"{"))
    unreadable = within >= HOSTILE_BATCH // 2
    return FuzzRecord(
        "hostile batch", value, timestamp=BASE_TIME + number, batch=number - within, unreadable=unreadable
    )


def _value(random: Random) -> FuzzRecord:
    draw = random.random()
    for share, source in _SOURCES:
        draw -= share
        if draw < 0:
            return source(random)
    return _sound(random)


def _sound(random: Random) -> FuzzRecord:
    return FuzzRecord("sound", make_valid_document(random).encoded())


def _structured(random: Random) -> FuzzRecord:
    document = make_valid_document(random)
    changes = [mutate_structure.change(random, document) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    return FuzzRecord("structure: " + ", ".join(changes), document.encoded())


def _mangled(random: Random) -> FuzzRecord:
    value = make_valid_document(random).encoded()
    changes = []
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        if value:
            change, value = mutate_bytes.change(random, value)
            changes.append(change)
    return FuzzRecord("bytes: " + ", ".join(changes), value)


def _both(random: Random) -> FuzzRecord:
    name, value, *_ = _structured(random)
    change, changed = mutate_bytes.change(random, value or b"?")
    return FuzzRecord(f"{name}, {change}", changed)


def _noise(random: Random) -> FuzzRecord:
    if random.random() < 0.5:
        return FuzzRecord("any bytes", random.randbytes(random.choice((1, 2, 8, 64, 1_000))))
    alphabet = '{}[]":,\\ 0123456789eE+-.truefalsnNaIifty"execution_idmetrics'
    return FuzzRecord("any text", "".join(random.choices(alphabet, k=random.randrange(1, 200))).encode())


def _other_json(random: Random) -> FuzzRecord:
    return FuzzRecord(
        "other JSON",
        random.choice((*edge_values.VALUES, *edge_values.NUMBERS, *edge_values.NOT_JSON)).encode(
            "utf-8", "surrogatepass"
        ),
    )


def _nothing(random: Random) -> FuzzRecord:
    return FuzzRecord("tombstone", None, b"gone") if random.random() < 0.8 else FuzzRecord("empty", b"")


def _cloudevent(random: Random) -> FuzzRecord:
    document = make_valid_document(random)
    if random.random() < 0.3:
        mutate_structure.change(random, document)
    around = edge_values.ENVELOPES[random.choice((0, 1, 2, random.randrange(len(edge_values.ENVELOPES))))]
    content_type = edge_values.STRUCTURED[random.choice((0, 0, random.randrange(len(edge_values.STRUCTURED))))]
    value = envelope(around, document.encoded())
    if random.random() < 0.1:
        _, value = mutate_bytes.change(random, value)
    return FuzzRecord("structured CloudEvent", value, headers=(("content-type", content_type),))


def _repeated(random: Random) -> FuzzRecord:
    """The corpus again, but for what is large."""
    name, build = random.choice(_SMALL)
    return build(random)._replace(name=f"corpus: {name}")


_SMALL = [(name, build) for name, build in CORPUS if not name.startswith("giant")]
_SOURCES: tuple[tuple[float, Callable[[Random], FuzzRecord]], ...] = (
    (0.34, _structured), (0.14, _mangled), (0.06, _both), (0.04, _noise), (0.02, _other_json), (0.03, _nothing),
    (0.06, _cloudevent), (0.05, _repeated),
)  # fmt: skip
"""The rest are sound events."""


def _dressed(random: Random, number: int, record: FuzzRecord) -> FuzzRecord:
    """Now and then odd headers, an odd key, an odd timestamp, a codec."""
    key, headers, timestamp, codec = record.key, record.headers, record.timestamp, None
    if random.random() < 0.1:
        headers += random.choice(edge_values.HEADERS)
    if random.random() < 0.3:
        key = (
            random.choice(edge_values.KEYS[:8]) if random.random() < 0.5 else random.randbytes(random.randrange(1, 40))
        )
    if random.random() < 0.05:
        timestamp = random.choice(
            (*edge_values.TIMESTAMPS, BASE_TIME + random.randrange(10**9), random.randrange(-(2**63), 2**63))
        )
    if random.random() < 0.4:
        codec = random.choice(_CODECS)
    return _stamped(record._replace(key=key, headers=headers, timestamp=timestamp, codec=codec), number)


def described(seed: int, number: int, record: FuzzRecord) -> str:
    """A record as one line of JSON, bytes in hexadecimal, to keep it."""
    return json.dumps(
        {
            "seed": seed,
            "number": number,
            "name": record.name,
            "timestamp": record.timestamp,
            "codec": record.codec,
            "key": None if record.key is None else record.key.hex(),
            "headers": [[name, None if value is None else value.hex()] for name, value in record.headers],
            "unreadable": record.unreadable,
            "value": None if record.value is None else record.value.hex(),
        }
    )
