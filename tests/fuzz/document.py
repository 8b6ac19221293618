"""Events as parts of JSON text, so that a mutation can write what no JSON library would: a name twice, bad syntax."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import gmtime, strftime
from uuid import UUID

from tests.fuzz.fuzz_record import BASE_TIME

METRICS = "metrics"
"""The placeholder for `Document.metrics` in `Document.fields`."""
_NAMES = (
    "execution_time_ms", "memory_usage_mb", "cpu_percent", "result_success", "input_tokens", "output_tokens",
    "cost_usd", "tool_calls", "größe", "延迟", "a", "p99.9", "x" * 256,
)  # fmt: skip
_AGENTS = ("triage", "compiler", "größe", "代理", "🦀", "a b", "x" * 256)


@dataclass
class Document:
    """The members of an event and of its metrics: pairs of JSON text, names with their quotation marks."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    metrics: list[tuple[str, str]] = field(default_factory=list)

    def text(self) -> str:
        """The event as JSON, or what a mutation has made of it."""
        metrics = _join(self.metrics)
        return _join([(name, metrics if value == METRICS else value) for name, value in self.fields])

    def encoded(self) -> bytes:
        """The text in UTF-8."""
        return self.text().encode("utf-8", "surrogatepass")

    def set(self, name: str, value: str) -> None:
        """Replace or add a field; name and value are JSON text."""
        for position, (known, _) in enumerate(self.fields):
            if known == name:
                self.fields[position] = name, value
                return
        self.fields.append((name, value))

    def add_metric(self, name: str, value: str) -> None:
        """Add a metric; name and value are JSON text."""
        self.metrics.append((name, value))


def _join(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join([f"{name}:{value}" for name, value in members]) + "}"


def quoted(text: str) -> str:
    """`text` as a JSON string; lone surrogates as escapes, other characters verbatim."""
    encoded = json.dumps(text, ensure_ascii=False)
    return encoded if encoded.isascii() or encoded.isprintable() else json.dumps(text)


def build_event(edit: Callable[[Document], None]) -> Callable[[Random], bytes]:
    """A function that makes a valid event, applies `edit`, and encodes it."""

    def build(random: Random) -> bytes:
        document = make_valid_document(random)
        edit(document)
        return document.encoded()

    return build


def make_valid_document(random: Random) -> Document:
    """A valid event with a random id."""
    document = Document(
        [
            ('"execution_id"', _choose_id(random)),
            ('"agent_name"', quoted(random.choice(_AGENTS))),
            ('"metrics"', METRICS),
        ],
        [(quoted(name), _choose_number(random)) for name in random.sample(_NAMES, random.choice((0, 1, 3, 6, 10)))],
    )
    if random.random() < 0.7:
        document.fields.insert(random.randrange(3), ('"completed_at"', _choose_time(random)))
    if random.random() < 0.5:
        document.fields.append(
            ('"user_id"', random.choice(('"u-1"', "null", '""', '"ü"', "42", "-7", "18446744073709551615")))
        )
    if random.random() < 0.4:
        document.fields.append(('"labels"', _choose_labels(random)))
    if random.random() < 0.2:
        document.fields.append(('"schema_version"', random.choice(("1", "1.0", '"1"', '"1.12.0"'))))
    if random.random() < 0.2:
        document.fields.append(('"status"', random.choice(('"failed"', "null", '{"a":[1,{"b":null}]}'))))
    if random.random() < 0.2:
        document.metrics.append(('"model"', random.choice(('"large"', "null", "[1]", '{"p50":1}', '""'))))
    return document


def _choose_id(random: Random) -> str:
    bits = random.getrandbits(128)
    kinds = (f"run_{bits:x}", f"wf/größe/{bits}#1", f"{bits:032x}", str(UUID(int=bits)).upper(), f"{bits % 10**9}")
    return quoted(random.choice(kinds) if random.random() < 0.2 else str(UUID(int=bits)))


def _choose_labels(random: Random) -> str:
    """Mostly of few sets; some are of this event alone, and some break a rule."""
    labels = [('"release"', f'"2026.{random.randrange(3)}"'), ('"model"', random.choice(('"m-1"', '"größe"', '""')))]
    draw = random.random()
    if draw < 0.1:
        labels.append(('"request"', f'"{random.getrandbits(64):x}"'))
    elif draw < 0.15:
        labels += [(f'"label {number}"', f'"{"x" * number}"') for number in range(random.choice((14, 15, 20)))]
    elif draw < 0.25:
        labels.append(('"attempt"', random.choice(("2", "true", "null", "[]", "{}", f'"{"x" * 257}"'))))
    random.shuffle(labels)
    return _join(labels[: random.randrange(len(labels) + 1)])


def _choose_number(random: Random) -> str:
    kind = random.randrange(6)
    if kind == 0:
        return random.choice(("true", "false", "0", "1"))
    if kind == 1:
        return str(random.randrange(-(10**6), 10**6)) if random.random() < 0.1 else str(random.randrange(10**9))
    if kind == 2:
        return f"{random.random():.3e}"
    return repr(round(random.uniform(0, 10_000), 3))


def _choose_time(random: Random) -> str:
    seconds = BASE_TIME // 1_000 - random.randrange(40 * 86_400)
    fraction = random.choice(("", ".5", ".123", ".123456789"))
    if (draw := random.random()) < 0.15:
        return random.choice((str(seconds), f"{seconds}{fraction}", f"{seconds * 1_000 + 123}", f"{seconds}.0e0"))
    offset = random.choice(("Z", "Z", "z", "+00:00", "-00:00", "+05:30", "-11:00", "+23:59", ""))
    separator = " " if draw < 0.2 else "T"
    return quoted(strftime(f"%Y-%m-%d{separator}%H:%M:%S", gmtime(seconds)) + fraction + offset)
