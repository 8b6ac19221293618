"""Records that are large, deep, many, or small only while they are compressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.document import make_valid_document, quoted
from tests.fuzz.fuzz_record import FuzzRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

_MB = 1_000_000


def _beside(field: str, value: str) -> Callable[[Random], bytes]:
    """An event that is sound beside a field, which makes it large."""

    def make_record(random: Random) -> bytes:
        document = make_valid_document(random)
        document.metrics.append(('"odd"', "NaN"))
        document.set(quoted(field), value)
        return document.encoded()

    return make_record


def _metrics(count: int, name: str = '"m{}"', value: str = "{}") -> Callable[[Random], bytes]:
    def make_record(random: Random) -> bytes:
        document = make_valid_document(random)
        document.metrics = [(name.format(number), value.format(number)) for number in range(count)]
        return document.encoded()

    return make_record


def _metric(value: str) -> Callable[[Random], bytes]:
    def make_record(random: Random) -> bytes:
        document = make_valid_document(random)
        document.metrics.append(('"odd"', value))
        return document.encoded()

    return make_record


def _letters_with(user: int) -> Callable[[Random], bytes]:
    """Many dead letters that repeat a long user."""

    def make_record(random: Random) -> bytes:
        document = make_valid_document(random)
        document.metrics = [(f'"m{number}"', "NaN") for number in range(60)]
        document.set('"user_id"', f'"{"u" * user}"')
        return document.encoded()

    return make_record


_VALUES: dict[str, Callable[[Random], bytes]] = {
    "10 MB of any bytes": lambda random: random.randbytes(10 * _MB),
    "10 MB beside the metrics": _beside("trace", f'"{"t" * 10 * _MB}"'),
    "12 MB, more than a batch": _beside("trace", f'"{"t" * 12 * _MB}"'),
    "10 MB of blanks around": lambda random: b" " * 5 * _MB + make_valid_document(random).encoded() + b"\n" * 5 * _MB,
    "a user of 2 MB": _beside("user_id", f'"{"ü" * _MB}"'),
    "an agent of 10 MB": _beside("agent_name", f'"{"a" * 10 * _MB}"'),
    "escapes, 5 MB of them": _beside("user_id", '"' + "\\ud800" * 800_000 + '"'),
    "100,000 metrics": _metrics(100_000),
    "1,000 metrics": _metrics(1_000),
    "1,001 metrics": _metrics(1_001),
    "1,000 metrics without a number": _metrics(1_000, value='"{}"'),
    "1,000 metrics beyond a float": _metrics(1_000, value="1e400"),
    "one metric 200,000 times": _metrics(200_000, name='"m"'),
    "a name of 3 MB": _metrics(1, name=f'"{"n" * 3 * _MB}"'),
    "a number of 5,000,000 digits": _metric("1" * 5 * _MB),
    "a fraction of 5,000,000 digits": _metric("0." + "3" * 5 * _MB),
    "100,000 levels": _metric("[" * 100_000 + "]" * 100_000),
    "100,000 levels beside a NaN": _metric("[NaN," + "[" * 100_000 + "]" * 100_001),
    "5,000,000 levels of objects, not closed": lambda _: b'{"":' * 1_250_000,
    "10 MB of opening brackets": lambda _: b"[" * 10 * _MB,
    "300,000 brackets side by side": _beside("trace", "[" + "[]," * 300_000 + "NaN]"),
    "60 dead letters of 100 kB": _letters_with(100_000),
    "60 dead letters of 1.2 MB": _letters_with(1_200_000),
}


def _plain(name: str, make_record: Callable[[Random], bytes]) -> Callable[[Random], FuzzRecord]:
    return lambda random: FuzzRecord(name, make_record(random))


OVERSIZED: tuple[Callable[[Random], FuzzRecord], ...] = (
    *(_plain(name, make_record) for name, make_record in _VALUES.items()),
    lambda random: FuzzRecord(
        "headers of 2 MB", make_valid_document(random).encoded(), headers=(("h", b"v" * 2 * _MB),)
    ),
    lambda _: FuzzRecord("headers of 2 MB on no event", b"{", headers=(("h", b"v" * 2 * _MB),)),
    lambda random: FuzzRecord("a key of 2 MB", make_valid_document(random).encoded(), key=b"k" * 2 * _MB),
    lambda _: FuzzRecord("a key of 2 MB on no event", b"{", key=b"k" * 2 * _MB),
    lambda _: FuzzRecord("10 MB of nothing in 10 kB of gzip", bytes(10 * _MB), codec="gzip"),
    lambda _: FuzzRecord("30 MB of nothing in a few kB of zstd", bytes(30 * _MB), codec="zstd"),
    lambda random: FuzzRecord("an event of 10 MB in lz4", _VALUES["10 MB of blanks around"](random), codec="lz4"),
    lambda random: FuzzRecord("any bytes, 10 MB, in snappy", random.randbytes(10 * _MB), codec="snappy"),
)
