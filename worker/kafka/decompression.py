"""Bounds what a record batch may inflate to.

aiokafka inflates a record batch as a whole, without a limit: 700 MiB of spaces are a batch of 22 kB, which Apache Kafka
stores under its defaults. It has no option for that, so `bound_decompression` replaces the functions by which its
record modules inflate.
"""

import sys
from collections.abc import Callable, Iterator
from functools import partial
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from struct import unpack_from

import cramjam
from aiokafka.codec import _detect_xerial_stream
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from worker.core.errors import WorkerError

MAX_INFLATED_BYTES = 32 * 1024 * 1024
"""A producer with default limits sends at most 1 MiB of compressed bytes. Events compress by a factor of 5 to 15,
because each has a UUID and times of its own."""

_USUAL_RATIO = 16
_SMALLEST_BUFFER = 64 * 1024
_LARGEST_USUAL_BUFFER = 4 * 1024 * 1024
_XERIAL_HEADER_BYTES = 16
_TOO_SMALL = "whole buffer"
"""In what cramjam says of a buffer that is too small."""

_Inflate = Callable[[bytes], memoryview]
_Buffer = bytearray | mmap
_Fill = Callable[[bytes, _Buffer], int]
"""Inflates into a buffer, and returns the number of bytes."""


class RecordBatchTooLarge(WorkerError):
    """A record batch takes too much memory once inflated, or parsed. The message says of its records why."""


def bound_decompression(check: Callable[[memoryview], None]) -> None:
    """Let aiokafka raise `RecordBatchTooLarge` instead of inflating more. To be called before records are read.

    Args:
        check: called with what a batch of format 2 inflates to, before it is parsed.

    Raises:
        ImportError: this version of aiokafka inflates in another way.
    """

    def checked(inflate: _Inflate, payload: bytes) -> memoryview:
        inflated = inflate(payload)
        check(inflated)
        return inflated

    legacy = {name: inflate for name, inflate in _CODECS.items() if name != "zstd_decode"}
    current = {name: partial(checked, inflate) for name, inflate in _CODECS.items()}
    for batch_class, codecs in ((LegacyRecordBatch, legacy), (DefaultRecordBatch, current)):
        module = sys.modules[batch_class.__module__]  # the compiled module, where there is one
        for name, inflate in codecs.items():
            if not hasattr(module, name):
                raise ImportError(f"{module.__name__} has no {name}: the size of record batches cannot be bounded")
            setattr(module, name, inflate)


def _too_large() -> RecordBatchTooLarge:
    return RecordBatchTooLarge(f"their record batch inflates to more than {MAX_INFLATED_BYTES // 1024**2} MiB")


def _snappy_decode(payload: bytes) -> memoryview:
    # Each block begins with its inflated size, and cannot inflate to another one.
    size = sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(payload)))
    if size > MAX_INFLATED_BYTES:
        raise _too_large()
    inflated = memoryview(_allocate(size))
    position = 0
    for block in _snappy_blocks(payload):
        position += cramjam.snappy.decompress_raw_into(block, inflated[position:])
    return inflated


def _inflate(fill: _Fill, payload: bytes) -> memoryview:
    """Inflate without a copy. A frame need not tell its size, so a buffer is the bound."""
    usual = max(_USUAL_RATIO * len(payload), _SMALLEST_BUFFER)
    for size in (usual, MAX_INFLATED_BYTES) if usual <= _LARGEST_USUAL_BUFFER else (MAX_INFLATED_BYTES,):
        buffer = _allocate(size)
        try:
            return memoryview(buffer)[: fill(payload, buffer)]
        except cramjam.DecompressionError as error:
            if _TOO_SMALL not in str(error):
                raise
    raise _too_large()


def _allocate(size: int) -> _Buffer:
    """A buffer; a large one takes memory as it is filled, and returns it to the system at its end."""
    return bytearray(size) if size <= _LARGEST_USUAL_BUFFER else mmap(-1, size, MAP_PRIVATE | MAP_ANONYMOUS)


def _snappy_blocks(payload: bytes) -> Iterator[bytes]:
    if not _detect_xerial_stream(payload):
        yield payload
        return
    position = _XERIAL_HEADER_BYTES
    while position < len(payload):
        (size,) = unpack_from("!i", payload, position)
        if size <= 0:
            raise cramjam.DecompressionError(f"a snappy block of {size} bytes")
        yield payload[position + 4 : position + 4 + size]
        position += 4 + size


_CODECS: dict[str, _Inflate] = {
    "gzip_decode": partial(_inflate, cramjam.gzip.decompress_into),
    "snappy_decode": _snappy_decode,
    "lz4_decode": partial(_inflate, cramjam.lz4.decompress_into),
    "zstd_decode": partial(_inflate, cramjam.zstd.decompress_into),
}
"""By the names that aiokafka's record modules give them."""
