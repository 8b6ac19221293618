"""Records of at most 1 MB, as Apache Kafka takes by default, of which the worker repeats a part many times.

Each row repeats the user and the agent, each dead letter also the key and the headers; each month may be an INSERT,
each name of a metric an entry of a cache.
"""

from collections.abc import Callable
from random import Random
from time import gmtime, strftime
from typing import Any

from tests.fuzz.document import make_valid_document, quoted
from tests.fuzz.fuzz_record import BASE_TIME, FuzzRecord

_KB = 1_000
_WIDE = "🦀"
"""Four bytes in UTF-8, twelve as an escape."""
_Metrics = Callable[[Random], dict[str, str]]


def _numbers(count: int, text: str = "{}") -> _Metrics:
    return lambda _: {quoted(f"m{number}"): text.format(number) for number in range(count)}


def _named(count: int, name_characters: int, text: str = "1") -> _Metrics:
    """Names that no other record has."""

    def make(random: Random) -> dict[str, str]:
        return {quoted(f"{random.getrandbits(4 * name_characters):0{name_characters}x}"): text for _ in range(count)}

    return make


def _event(
    metrics: _Metrics, *, user: str = "", agent: str = "", execution_id: str = "", labels: str = "", **others: Any
) -> Callable[[Random], FuzzRecord]:
    def make(random: Random) -> FuzzRecord:
        document = make_valid_document(random)
        document.metrics = [*metrics(random).items()]
        if user:
            document.set('"user_id"', quoted(user))
        if execution_id:
            document.set('"execution_id"', quoted(execution_id))
        if agent:
            document.set('"agent_name"', quoted(agent))
        if labels:
            document.set('"labels"', labels)
        return FuzzRecord("", document.encoded(), **others)

    return make


_LABELS = ",".join(f'"{number:02}{_WIDE * 62}":"{_WIDE * 256}"' for number in range(16))
_REFUSED = "NaN"
_KINDS: dict[str, Callable[[Random], FuzzRecord]] = {
    "a user of 256 wide characters, 1,000 rows": _event(_numbers(1_000), user=_WIDE * 256),
    "a user of 1 kB, 1,000 rows": _event(_numbers(1_000), user="u" * _KB),
    "a user of 10 kB, 1,000 rows": _event(_numbers(1_000), user="u" * 10 * _KB),
    "a user of 100 kB, 1,000 rows": _event(_numbers(1_000), user="u" * 100 * _KB),
    "a user of 900 kB, 900 rows": _event(_numbers(900), user="u" * 900 * _KB),
    "a user of 900 kB, 900 dead letters": _event(_numbers(900, _REFUSED), user="u" * 900 * _KB),
    "an agent of 256 wide characters, 1,000 rows": _event(_numbers(1_000), agent=_WIDE * 256),
    "an agent of 256 wide characters, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), agent=_WIDE * 256),
    "an agent of 900 kB, 900 rows": _event(_numbers(900), agent="a" * 900 * _KB),
    "16 labels of 320 wide characters, 1,000 rows": _event(_numbers(1_000), labels=f"{{{_LABELS}}}"),
    "16 labels of 320 wide characters, 1,000 dead letters": _event(
        _numbers(1_000, _REFUSED), labels=f"{{{_LABELS}}}"
    ),
    "60,000 labels": _event(_numbers(1_000), labels="{" + ",".join(f'"{n}":"v"' for n in range(60_000)) + "}"),
    "a label of 900 kB, 900 rows": _event(_numbers(900), labels=f'{{"a":"{"v" * 900 * _KB}"}}'),
    "an id of 128 wide characters, 1,000 rows": _event(_numbers(1_000), execution_id=_WIDE * 128),
    "a key of 16 kB, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), key=b"k" * 16 * _KB),
    "a key of 100 kB, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), key=b"k" * 100 * _KB),
    "a key of 900 kB, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), key=b"k" * 900 * _KB),
    "a header of 100 kB, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), headers=(("h", b"v" * 100 * _KB),)),
    "a header named by 900 kB, 1,000 dead letters": _event(
        _numbers(1_000, _REFUSED), headers=(("h" * 900 * _KB, b""),)
    ),
    "8,000 headers, 1,000 dead letters": _event(_numbers(1_000, _REFUSED), headers=(("h", b"v"),) * 8_000),
    "400,000 headers without names, 1,000 dead letters": _event(
        _numbers(1_000, _REFUSED), headers=(("", None),) * 400_000
    ),
    "1,000 numbers of 900 digits, dead letters": _event(_numbers(1_000, "9" * 900)),
    "1,000 fractions of 900 digits, rows": _event(_numbers(1_000, "0." + "3" * 900)),
    "1,000 names of 256 characters, rows": _event(_named(1_000, 256)),
    "1,000 names of 900 characters, dead letters": _event(_named(1_000, 900)),
    "1,000 arrays of 450 levels": _event(_numbers(1_000, "[" * 450 + "]" * 450)),
    "1,000 objects of 150 levels beside a NaN": _event(
        lambda _: _numbers(1_000, '{{"":' * 150 + "{}" + "}}" * 150)(_) | {'"odd"': _REFUSED}
    ),
}  # fmt: skip


def _name(name: str, make: Callable[[Random], FuzzRecord]) -> Callable[[Random], FuzzRecord]:
    return lambda random: make(random)._replace(name=f"amplified: {name}")


AMPLIFIED = tuple(_name(name, make) for name, make in _KINDS.items())


def make_careless(random: Random) -> FuzzRecord:
    """What an ordinary careless producer sends: a time of any month, names that occur once, or many metrics."""
    document = make_valid_document(random)
    draw = random.randrange(20)
    if draw == 0:
        document.metrics = [(f'"detail_{number}"', str(number)) for number in range(1_000)]
        return FuzzRecord("careless: 1,000 metrics", document.encoded())
    if draw < 10:
        document.metrics = [(quoted(f"request_{random.getrandbits(64):x}"), "1") for _ in range(10)]
        return FuzzRecord("careless: names that occur once", document.encoded())
    seconds = BASE_TIME // 1_000 - random.randrange(random.choice((400, 3_650)) * 86_400)
    document.set('"completed_at"', strftime('"%Y-%m-%dT%H:%M:%SZ"', gmtime(seconds)))
    return FuzzRecord("careless: a time of any month", document.encoded())
