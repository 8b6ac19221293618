"""Mutations of the structure of an event: the result is JSON, or nearly."""

import json
from collections.abc import Callable
from random import Random

from tests.fuzz import edge_values
from tests.fuzz.document import Document, make_valid_document, quoted


def change(random: Random, document: Document) -> str:
    """Change `document` once. Returns the name of the change."""
    chosen = random.choice(_CHANGES)
    chosen(random, document)
    return chosen.__name__


def _field(random: Random, document: Document) -> int:
    return random.randrange(len(document.fields))


def drop(random: Random, document: Document) -> None:
    if len(document.fields) > 1:
        del document.fields[_field(random, document)]


def rename(random: Random, document: Document) -> None:
    position = _field(random, document)
    name, value = document.fields[position]
    changed = random.choice(
        (name.upper(), f'{name[:-1]} "', '""', name.replace("e", "\u0435"), name.replace("_", "\\u005f"), name[1:])
    )
    document.fields[position] = changed, value


def duplicate(random: Random, document: Document) -> None:
    name, value = random.choice(document.fields)
    other = random.choice((value, random.choice(edge_values.VALUES), random.choice(edge_values.NUMBERS)))
    document.fields.insert(random.randrange(len(document.fields) + 1), (name, other))


def shuffle(random: Random, document: Document) -> None:
    random.shuffle(document.fields)


def retype(random: Random, document: Document) -> None:
    position = _field(random, document)
    document.fields[position] = (
        document.fields[position][0],
        random.choice(random.choice((edge_values.VALUES, edge_values.NUMBERS))),
    )


def not_json(random: Random, document: Document) -> None:
    members = random.choice((document.fields, document.metrics)) or document.fields
    position = random.randrange(len(members))
    members[position] = members[position][0], random.choice(edge_values.NOT_JSON)


def execution_id(random: Random, document: Document) -> None:
    for name, value in document.fields:
        if name == '"execution_id"' and len(value) == 38:
            document.set(name, random.choice(edge_values.ids(value[1:-1])))
            return


def set_field(random: Random, document: Document) -> None:
    name, values = random.choice(_EDGE_VALUES)
    document.set(f'"{name}"', random.choice(values))


def any_completed_at(random: Random, document: Document) -> None:
    year, month, day = (
        random.choice((2025, 2026, 2027, random.randrange(1890, 2310))),
        random.randrange(14),
        random.randrange(33),
    )
    second, zone = random.randrange(62), random.choice(("Z", "+01:00", "-23:59", "", "+24:00"))
    document.set('"completed_at"', f'"{year}-{month:02}-{day:02}T{random.randrange(25):02}:59:{second:02}{zone}"')


def label(random: Random, document: Document) -> None:
    text = random.choice((random.choice(edge_values.VALUES), random.choice(edge_values.NUMBERS), '"v"'))
    document.set('"labels"', f'{{"model":"m",{random.choice(edge_values.NAMES)}:{text}}}')


def foreign_field(random: Random, document: Document) -> None:
    document.fields.append(
        (random.choice(edge_values.NAMES), random.choice(random.choice((edge_values.VALUES, edge_values.NUMBERS))))
    )


def odd_value(random: Random, document: Document) -> None:
    for _ in range(random.randrange(1, 4)):
        values = random.choice((edge_values.NUMBERS, edge_values.NUMBERS, edge_values.VALUES))
        document.metrics.append((f'"odd{random.randrange(5)}"', random.choice(values)))


def odd_name(random: Random, document: Document) -> None:
    for _ in range(random.randrange(1, 4)):
        value = random.choice((random.choice(edge_values.NUMBERS), "1", random.choice(edge_values.VALUES)))
        document.metrics.insert(random.randrange(len(document.metrics) + 1), (random.choice(edge_values.NAMES), value))


def repeated_metric(random: Random, document: Document) -> None:
    for name, _ in document.metrics[: random.randrange(1, 3)]:
        document.metrics.append((name, random.choice(("1", "NaN", '"x"', "1e400", "null", "-2.5"))))


def refused_by_table(random: Random, document: Document) -> None:
    if random.random() < 0.1:  # each costs the worker some inserts
        document.metrics.append(('"execution_time_ms"', random.choice(("-1", "-1e308", "-5e-324", "-0.0", "-0"))))


def many_metrics(random: Random, document: Document) -> None:
    if random.random() < 0.05:
        count = random.choice((999, 1_000, 1_001))
        document.metrics = [(f'"m{number}"', str(number)) for number in range(count)]


def metrics_of_another_shape(random: Random, document: Document) -> None:
    pairs = [f"[{name},{value}]" for name, value in document.metrics]
    document.set(
        '"metrics"', random.choice(("[" + ",".join(pairs) + "]", quoted(json.dumps(pairs)), "null", "[]", "{}"))
    )


def wrap(random: Random, document: Document) -> None:
    inner = document.text()
    document.fields = [(random.choice(('"data"', '"event"', '"metrics"')), inner)]
    if random.random() < 0.5:
        document.fields += [*make_valid_document(random).fields]
        document.metrics = []


_EDGE_VALUES = (
    ("agent_name", edge_values.NAMES), ("user_id", edge_values.NAMES), ("user_id", edge_values.VALUES),
    ("completed_at", edge_values.TIMES), ("completed_at", edge_values.EPOCHS), ("labels", edge_values.LABELS),
    ("schema_version", edge_values.VERSIONS),
)  # fmt: skip
_CHANGES: tuple[Callable[[Random, Document], None], ...] = (
    drop, rename, duplicate, shuffle, retype, not_json, execution_id, set_field, set_field, set_field, set_field,
    any_completed_at, label, foreign_field, odd_value, odd_value, odd_value, odd_name, odd_name, repeated_metric,
    refused_by_table, many_metrics, metrics_of_another_shape, wrap,
)  # fmt: skip
