"""Records that are large, deep, have many metrics, or are small only while they are compressed."""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from tests.fuzz.document import Document, build_event, make_valid_document, quoted
from tests.fuzz.fuzz_record import FuzzRecord

_MB = 1_000_000


def _with_field(field: str, value: str) -> Callable[[Random], bytes]:
    """A valid event with a large field, and a metric that becomes a dead letter."""

    def edit(document: Document) -> None:
        document.add_metric('"odd"', "NaN")
        document.set(quoted(field), value)

    return build_event(edit)


def _with_metric(value: str) -> Callable[[Random], bytes]:
    return build_event(lambda document: document.add_metric('"odd"', value))


def _with_metrics(count: int, name: str = '"m{}"', value: str = "{}") -> Callable[[Random], bytes]:
    def edit(document: Document) -> None:
        document.metrics = [(name.format(number), value.format(number)) for number in range(count)]

    return build_event(edit)


_VALUES: dict[str, Callable[[Random], bytes]] = {
    "10 MB of any bytes": lambda random: random.randbytes(10 * _MB),
    "8 MB beside the metrics": _with_field("trace", f'"{"t" * 8 * _MB}"'),
    "8 MB, 32 in memory, beside the metrics": _with_field("trace", f'"🦀{"t" * 8 * _MB}"'),
    "12 MB, more than an event may have": _with_field("trace", f'"{"t" * 12 * _MB}"'),
    "8 MB of blanks around": lambda random: b" " * 4 * _MB + make_valid_document(random).encoded() + b"\n" * 4 * _MB,
    "a user of 2 MB": _with_field("user_id", f'"{"ü" * _MB}"'),
    "an agent of 10 MB": _with_field("agent_name", f'"{"a" * 10 * _MB}"'),
    "escapes, 5 MB of them": _with_field("user_id", '"' + "\\ud800" * 800_000 + '"'),
    "100,000 metrics": _with_metrics(100_000),
    "1,000 metrics": _with_metrics(1_000),
    "1,001 metrics": _with_metrics(1_001),
    "1,000 metrics without a number": _with_metrics(1_000, value='"{}"'),
    "1,000 metrics beyond a float": _with_metrics(1_000, value="1e400"),
    "one metric 200,000 times": _with_metrics(200_000, name='"m"'),
    "a name of 3 MB": _with_metrics(1, name=f'"{"n" * 3 * _MB}"'),
    "a number of 5,000,000 digits": _with_metric("1" * 5 * _MB),
    "a fraction of 5,000,000 digits": _with_metric("0." + "3" * 5 * _MB),
    "100,000 levels": _with_metric("[" * 100_000 + "]" * 100_000),
    "100,000 levels beside a NaN": _with_metric("[NaN," + "[" * 100_000 + "]" * 100_001),
    "5,000,000 levels of objects, not closed": lambda _: b'{"":' * 1_250_000,
    "10 MB of opening brackets": lambda _: b"[" * 10 * _MB,
    "120,000 arrays side by side": _with_field("trace", "[" + "[]," * 120_000 + "NaN]"),
    "120,000 arrays as a metric": _with_metric("[" + "[]," * 120_000 + "0]"),
    "350,000 arrays as a metric, too many": _with_metric("[" + "[]," * 350_000 + "0]"),
    "60,000 objects as a metric": _with_metric("[" + '{"k":1},' * 60_000 + "0]"),
}


def _inflating(name: str, size: int, codec: str, _: Random) -> FuzzRecord:
    """A record of spaces; its batch inflates beyond the bound of the worker."""
    return _named(name, b" " * size, codec=codec, unreadable=True)


def _named(name: str, value: bytes, **others: Any) -> FuzzRecord:
    return FuzzRecord(f"oversized: {name}", value, **others)


def _name(name: str, make_value: Callable[[Random], bytes]) -> Callable[[Random], FuzzRecord]:
    return lambda random: _named(name, make_value(random))


OVERSIZED: tuple[Callable[[Random], FuzzRecord], ...] = (
    *(_name(name, make_value) for name, make_value in _VALUES.items()),
    lambda random: _named("headers of 2 MB", make_valid_document(random).encoded(), headers=(("h", b"v" * 2 * _MB),)),
    lambda _: _named("headers of 2 MB on no event", b"{", headers=(("h", b"v" * 2 * _MB),)),
    lambda random: _named("a key of 2 MB", make_valid_document(random).encoded(), key=b"k" * 2 * _MB),
    lambda _: _named("a key of 2 MB on no event", b"{", key=b"k" * 2 * _MB),
    lambda _: _named("10 MB of nothing in 10 kB of gzip", bytes(10 * _MB), codec="gzip"),
    lambda _: _named("30 MB of nothing in a few kB of zstd", bytes(30 * _MB), codec="zstd"),
    *(
        partial(_inflating, f"{megabytes} MB of spaces in {codec}", megabytes * _MB, codec)
        for codec, megabytes in (("gzip", 60), ("lz4", 60), ("zstd", 60))
    ),
    lambda random: _named("an event of 8 MB in lz4", _VALUES["8 MB of blanks around"](random), codec="lz4"),
    lambda random: _named("any bytes, 10 MB, in snappy", random.randbytes(10 * _MB), codec="snappy"),
)
