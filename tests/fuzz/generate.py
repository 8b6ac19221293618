"""Makes record number N of a seed. Each record can be made again by itself."""

from collections.abc import Callable
from random import Random

from tests.fuzz import edge_values, mutate_bytes, mutate_structure
from tests.fuzz.amplified import AMPLIFIED, make_careless
from tests.fuzz.corpus import CORPUS, LARGE, fill_envelope
from tests.fuzz.document import make_valid_document
from tests.fuzz.fuzz_record import BASE_TIME, FuzzRecord
from tests.fuzz.librdkafka import can_send
from tests.fuzz.oversized import OVERSIZED

ORDINARY = 10_000
"""The first records: ordinary events, so that their memory is measured before that of the others."""
LARGE_IN_A_ROW = 60
"""Oversized and amplified records after the corpus: what each of them leaves in memory adds up."""
MORE_LARGE = range(60_000, 60_300)
"""As many in a row as only a longer run has."""
ONLY_LARGE = 5_000_000
"""The first of the records that are all large: those of a run that begins there."""
FIRST_MUTATION = ORDINARY + len(CORPUS) + LARGE_IN_A_ROW
OVERSIZED_EVERY = 10_000
AMPLIFIED_EVERY = 1_000
HOSTILE_EVERY = 25_000
HOSTILE_BATCH = 7
"""Records of a batch of which the Kafka client can parse only the first half."""
HOSTILE_FROM = 15_000
_REPEATED_SHARE, _REPEATED_BLOCK = 0.001, 5_000
"""One record in a thousand repeats the event of its block of records: the latest of them gives the row."""
_RECORDS_OF_ONE_CLIENT = 100
"""Records in a row that one client sends with one codec, unless one of them needs another."""
_CODECS = ("gzip", "snappy", "lz4", "zstd")
_MANY_RECORDS = 10_000_000


def make_record(seed: int, number: int) -> FuzzRecord:
    """Record `number` of the run `seed`."""
    random = Random(seed * _MANY_RECORDS + number)
    of_run = Random(2**81 + seed * _MANY_RECORDS + number // _RECORDS_OF_ONE_CLIENT)
    return _choose_client(of_run, _set_timestamp(_make(random, seed, number), number))


def is_one_of_many_large(number: int) -> bool:
    """Whether the record is one of several large ones in a row; each kind of them is in the corpus, too."""
    return FIRST_MUTATION - LARGE_IN_A_ROW <= number < FIRST_MUTATION or number in MORE_LARGE or number >= ONLY_LARGE


def _make(random: Random, seed: int, number: int) -> FuzzRecord:
    """First ordinary events, then the corpus, then large records, then mutations among large and unparsable ones."""
    if number < ORDINARY:
        return _make_valid(random)._replace(name="ordinary")
    if number < ORDINARY + len(CORPUS):
        name, build = CORPUS[number - ORDINARY]
        built = build(random)
        return built._replace(name=built.name or f"corpus: {name}")
    if is_one_of_many_large(number):
        return _make_large(random)
    within = number % HOSTILE_EVERY - HOSTILE_FROM
    if 0 <= within < HOSTILE_BATCH:
        return _make_hostile(random, number, within)
    if number % OVERSIZED_EVERY == 0:
        return OVERSIZED[number // OVERSIZED_EVERY % len(OVERSIZED)](random)
    if number % AMPLIFIED_EVERY == 0:
        return AMPLIFIED[number // AMPLIFIED_EVERY % len(AMPLIFIED)](random)
    if random.random() < _REPEATED_SHARE:
        block = Random(2**80 + seed * _MANY_RECORDS + number // _REPEATED_BLOCK)
        return _add_surroundings(random, FuzzRecord("the same event again", make_valid_document(block).encoded()))
    return _add_surroundings(random, _make_value(random))


def _choose_client(random: Random, record: FuzzRecord) -> FuzzRecord:
    """Choose client and codec for a record that needs no particular one."""
    librdkafka, codec = random.random() < 0.5, random.choice((None, *_CODECS))
    if record.batch is not None:
        return record
    return record._replace(librdkafka=librdkafka and can_send(record), codec=record.codec or codec)


def _set_timestamp(record: FuzzRecord, number: int) -> FuzzRecord:
    if record.value is None and record.key is None:
        record = record._replace(key=b"gone")  # aiokafka needs a key or a value
    return record if record.timestamp != BASE_TIME else record._replace(timestamp=BASE_TIME + number)


def _make_large(random: Random) -> FuzzRecord:
    return random.choice((*OVERSIZED, *AMPLIFIED))(random)


def _make_hostile(random: Random, number: int, within: int) -> FuzzRecord:
    """One record of a batch in which the header name of the middle record is not UTF-8."""
    value = random.choice((None, make_valid_document(random).encoded(), b"{"))
    unreadable = within >= HOSTILE_BATCH // 2
    return FuzzRecord(
        "hostile batch", value, timestamp=BASE_TIME + number, batch=number - within, unreadable=unreadable
    )


def _make_value(random: Random) -> FuzzRecord:
    draw = random.random()
    for share, source in _SOURCES:
        draw -= share
        if draw < 0:
            return source(random)
    return _make_valid(random)


def _make_valid(random: Random) -> FuzzRecord:
    return FuzzRecord("valid", make_valid_document(random).encoded())


def _mutate_structure(random: Random) -> FuzzRecord:
    document = make_valid_document(random)
    changes = [mutate_structure.change(random, document) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    return FuzzRecord("structure: " + ", ".join(changes), document.encoded())


def _mutate_bytes(random: Random) -> FuzzRecord:
    value = make_valid_document(random).encoded()
    changes = []
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        if value:
            change, value = mutate_bytes.change(random, value)
            changes.append(change)
    return FuzzRecord("bytes: " + ", ".join(changes), value)


def _mutate_both(random: Random) -> FuzzRecord:
    name, value, *_ = _mutate_structure(random)
    change, changed = mutate_bytes.change(random, value or b"?")
    return FuzzRecord(f"{name}, {change}", changed)


def _make_noise(random: Random) -> FuzzRecord:
    if random.random() < 0.5:
        return FuzzRecord("any bytes", random.randbytes(random.choice((1, 2, 8, 64, 1_000))))
    alphabet = '{}[]":,\\ 0123456789eE+-.truefalsnNaIifty"execution_idmetrics'
    return FuzzRecord("any text", "".join(random.choices(alphabet, k=random.randrange(1, 200))).encode())


def _make_other_json(random: Random) -> FuzzRecord:
    return FuzzRecord(
        "other JSON",
        random.choice((*edge_values.VALUES, *edge_values.NUMBERS, *edge_values.NOT_JSON)).encode(
            "utf-8", "surrogatepass"
        ),
    )


def _make_empty(random: Random) -> FuzzRecord:
    return FuzzRecord("tombstone", None, b"gone") if random.random() < 0.8 else FuzzRecord("empty", b"")


def _make_cloudevent(random: Random) -> FuzzRecord:
    document = make_valid_document(random)
    if random.random() < 0.3:
        mutate_structure.change(random, document)
    around = edge_values.ENVELOPES[random.choice((0, 1, 2, random.randrange(len(edge_values.ENVELOPES))))]
    content_type = edge_values.STRUCTURED[random.choice((0, 0, random.randrange(len(edge_values.STRUCTURED))))]
    value = fill_envelope(around, document.encoded())
    if random.random() < 0.1:
        _, value = mutate_bytes.change(random, value)
    return FuzzRecord("structured CloudEvent", value, headers=(("content-type", content_type),))


def _repeat_corpus(random: Random) -> FuzzRecord:
    """A record of the corpus that is not large."""
    name, build = random.choice(_SMALL)
    return build(random)._replace(name=f"corpus: {name}")


_SMALL = [(name, build) for name, build in CORPUS if name != LARGE]
_SOURCES: tuple[tuple[float, Callable[[Random], FuzzRecord]], ...] = (
    (0.34, _mutate_structure), (0.14, _mutate_bytes), (0.06, _mutate_both), (0.04, _make_noise),
    (0.02, _make_other_json), (0.03, _make_empty), (0.06, _make_cloudevent), (0.05, _repeat_corpus),
    (0.02, make_careless),
)  # fmt: skip
"""The rest are valid events."""


def _add_surroundings(random: Random, record: FuzzRecord) -> FuzzRecord:
    """Sometimes add unusual headers, or an unusual key or timestamp."""
    key, headers, timestamp = record.key, record.headers, record.timestamp
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
    return record._replace(key=key, headers=headers, timestamp=timestamp)
