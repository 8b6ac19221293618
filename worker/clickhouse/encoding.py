"""A block as the native protocol carries it: the bytes of each column, made once an event and repeated for its rows.

clickhouse-driver encodes one value at a time, and the rows of an event differ in two of ten columns only. Measured on
ten metrics an event: 8.0 µs an event by the driver, 1.9 so, a third of all that the worker did. The bytes are the same,
which `tests/unit/test_encoding.py` holds against the driver's; a column whose type is not the one of our migrations is
left to the driver.

The layouts are those of `serializeBinaryBulk*` in ClickHouse's src/DataTypes/Serializations/.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain
from operator import mul
from struct import Struct, pack

from worker.events.block import Block

Encoder = Callable[[Block], bytes]

_INT32 = Struct("<i").pack
_INT64 = Struct("<q").pack
_TWO_INT64 = Struct("<QQ").pack
_LOW_64_BITS = 2**64 - 1
_DICTIONARY_VERSION = _INT64(1)  # SharedDictionariesWithAdditionalKeys
_OWN_DICTIONARY = (1 << 9) | (1 << 10)  # HasAdditionalKeysBit, NeedUpdateDictionary
_INDEX_CODES = ((1 << 8, "B"), (1 << 16, "H"), (1 << 32, "I"))


def encoder(name: str, type_name: str) -> Encoder | None:
    """What encodes column `name`; None where its type in the table is another than ours."""
    if (name, type_name) == ROW_NUMBER:
        return _row_numbers
    expected, encode = ENCODERS.get(name, ("", None))
    return encode if expected == type_name else None


def _execution_ids(block: Block) -> bytes:
    # Two numbers of 64 bits, the higher first, each little-endian.
    numbers = (event.execution_id.int for event in block.events)
    return _repeated((_TWO_INT64(number >> 64, number & _LOW_64_BITS) for number in numbers), block)


def _user_ids(block: Block) -> bytes:
    """A map of NULLs, then the strings, empty where there is none."""
    users = [event.user_id for event in block.events]
    strings = {user: _string(user or "") for user in set(users)}
    nulls = _repeated((_IS_NULL[user is None] for user in users), block) if None in strings else bytes(len(block))
    return nulls + _repeated(map(strings.__getitem__, users), block)


def _metric_types(block: Block) -> bytes:
    # Producers send the same metrics in the same order again and again: 0.2 µs an event by the whole of its names,
    # 1.0 name by name.
    ends = list(accumulate(block.counts))
    names = [tuple(block.metrics[end - count : end]) for count, end in zip(block.counts, ends, strict=True)]
    different = dict.fromkeys(names)
    head, index = _dictionary(chain.from_iterable(different), len(block))
    code = _index_code(index)
    packed = {some: _numbers(code, list(map(index.__getitem__, some))) for some in different}
    return head + b"".join(map(packed.__getitem__, names))


def _agent_names(block: Block) -> bytes:
    return _few([event.agent_name for event in block.events], block)


def _topics(block: Block) -> bytes:
    return _few([event.record.topic for event in block.events], block)


def _few(values: Sequence[str], block: Block) -> bytes:
    """A LowCardinality(String) of one value an event."""
    head, index = _dictionary(values, len(block))
    code = _index_code(index)
    packed = {value: _numbers(code, (number,)) for value, number in index.items()}
    return head + _repeated(map(packed.__getitem__, values), block)


def _dictionary(values: Iterable[str], rows: int) -> tuple[bytes, dict[str, int]]:
    """What stands before the indexes of a LowCardinality(String), and the index of each different value."""
    index = {value: number for number, value in enumerate(dict.fromkeys(values))}
    kind = _OWN_DICTIONARY | [code for _, code in _INDEX_CODES].index(_index_code(index))
    head = _DICTIONARY_VERSION + _INT64(kind) + _INT64(len(index))
    return head + b"".join(map(_string, index)) + _INT64(rows), index


def _index_code(index: dict[str, int]) -> str:
    return next(code for limit, code in _INDEX_CODES if len(index) < limit)


def _row_numbers(block: Block) -> bytes:
    return _numbers("I", range(len(block)))


def _values(block: Block) -> bytes:
    return _numbers("d", block.values)


def _completed(block: Block) -> bytes:
    return _repeated((_INT64(event.completed_at) for event in block.events), block)


def _recorded(block: Block) -> bytes:
    return _repeated((_INT64(event.recorded_at) for event in block.events), block)


def _partitions(block: Block) -> bytes:
    return _repeated((_INT32(event.record.partition) for event in block.events), block)


def _offsets(block: Block) -> bytes:
    return _repeated((_INT64(event.record.offset) for event in block.events), block)


def _repeated(items: Iterable[bytes], block: Block) -> bytes:
    """The item of each event, once for each of its rows."""
    return b"".join(map(mul, items, block.counts))


def _numbers(code: str, values: Sequence[float]) -> bytes:
    return pack(f"<{len(values)}{code}", *values)


def _string(text: str) -> bytes:
    """A length as varint, then the text as UTF-8."""
    data = text.encode()
    size = len(data)
    prefix = b""
    while size >= 0x80:
        prefix += _BYTES[size & 0x7F | 0x80]
        size >>= 7
    return prefix + _BYTES[size] + data


_BYTES = [bytes((number,)) for number in range(256)]
_IS_NULL = _BYTES[:2]


ENCODERS: dict[str, tuple[str, Encoder]] = {
    "execution_id": ("UUID", _execution_ids),
    "agent_name": ("LowCardinality(String)", _agent_names),
    "user_id": ("Nullable(String)", _user_ids),
    "metric_type": ("LowCardinality(String)", _metric_types),
    "metric_value": ("Float64", _values),
    "completed_at": ("DateTime64(3, 'UTC')", _completed),
    "recorded_at": ("DateTime64(3, 'UTC')", _recorded),
    "source_topic": ("LowCardinality(String)", _topics),
    "source_partition": ("Int32", _partitions),
    "source_offset": ("Int64", _offsets),
}
"""The type that a column must have, and what encodes it then."""

ROW_NUMBER = ("__metrics_worker_row_number", "UInt32")
"""Name and type of a column more, which no table has: the position of a row in its block, from 0."""
