"""Bounds what a record batch may inflate to.

aiokafka inflates a record batch as a whole, without a limit: 700 MiB of spaces are a batch of 22 kB, which Apache Kafka
stores under its defaults. It has no option for that, so `bound_decompression` replaces the functions by which its
record modules inflate.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from gzip import GzipFile
from io import BytesIO
from mmap import mmap
from struct import unpack_from

import cramjam
from aiokafka.codec import _detect_xerial_stream, snappy_decode
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.legacy_records import LegacyRecordBatch

from worker.core.errors import WorkerError

MAX_INFLATED_BYTES = 32 * 1024 * 1024
"""A producer with default limits sends at most 1 MiB of compressed bytes. Events compress by a factor of 5 to 15,
because each has a UUID and times of its own."""

_USUAL_RATIO = 16
_SMALLEST_BUFFER = 64 * 1024
_XERIAL_HEADER_BYTES = 16

_Inflate = Callable[[bytes], bytes | memoryview]


class RecordBatchTooLarge(WorkerError):
    """A record batch takes too much memory once inflated, or parsed. The message says of its records why."""


def bound_decompression(check: Callable[[bytes | memoryview], None]) -> None:
    """Let aiokafka raise `RecordBatchTooLarge` instead of inflating more. To be called before records are read.

    Args:
        check: called with what a batch of format 2 inflates to, before it is parsed.

    Raises:
        ImportError: this version of aiokafka inflates in another way.
    """

    def checked(inflate: _Inflate, payload: bytes) -> bytes | memoryview:
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


def _usual_size(payload: bytes | memoryview) -> int:
    return min(max(_USUAL_RATIO * len(payload), _SMALLEST_BUFFER), MAX_INFLATED_BYTES)


def _gzip_decode(payload: bytes | memoryview) -> bytes:
    with GzipFile(fileobj=BytesIO(payload)) as stream:
        usual = _usual_size(payload)
        inflated = stream.read(usual)
        if len(inflated) == usual:
            inflated += stream.read(MAX_INFLATED_BYTES + 1 - usual)
    if len(inflated) > MAX_INFLATED_BYTES:
        raise _too_large()
    return inflated


def _snappy_decode(payload: bytes) -> bytes:
    # Each block begins with its inflated size, and cannot inflate to another one.
    if sum(map(cramjam.snappy.decompress_raw_len, _snappy_blocks(payload))) > MAX_INFLATED_BYTES:
        raise _too_large()
    inflated: bytes = snappy_decode(payload)
    return inflated


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


def _lz4_decode(payload: bytes) -> memoryview:
    return _inflate_into_buffer(cramjam.lz4.decompress_into, payload)


def _zstd_decode(payload: bytes) -> memoryview:
    return _inflate_into_buffer(cramjam.zstd.decompress_into, payload)


def _inflate_into_buffer(inflate: Callable[[bytes, bytearray | mmap], int], payload: bytes) -> memoryview:
    """Inflate without a copy. A frame need not tell its size, so a buffer is the bound."""
    usual = bytearray(_usual_size(payload))
    with suppress(cramjam.DecompressionError):  # perhaps only too large for this buffer
        return memoryview(usual)[: inflate(payload, usual)]
    del usual
    largest = mmap(-1, MAX_INFLATED_BYTES)  # takes memory as it is filled
    try:
        return memoryview(largest)[: inflate(payload, largest)]
    except cramjam.DecompressionError as error:
        largest.close()
        if "whole buffer" not in str(error):
            raise
    raise _too_large()


_CODECS: dict[str, _Inflate] = {
    "gzip_decode": _gzip_decode,
    "snappy_decode": _snappy_decode,
    "lz4_decode": _lz4_decode,
    "zstd_decode": _zstd_decode,
}
"""By the names that aiokafka's record modules give them."""
