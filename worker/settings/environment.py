"""Reading variables out of an environment: empty ones, secrets in files, and names that nobody knows."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from worker.settings.errors import Problem, field_type, variable

_SIMILAR = 0.8
"""Ratio of `difflib` from which a name counts as a misspelling: it finds CLICKHOUSE_DB, and leaves KAFKA_OPTS alone."""
# What Kubernetes sets in every pod for every Service.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)


def secrets(fields: Mapping[str, FieldInfo]) -> list[str]:
    """The names of the fields that are secret, each of which may be given by file."""
    return [name for name, field in fields.items() if field_type(field) is SecretStr]


def read(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> tuple[dict[str, str], list[Problem]]:
    """The values of the fields as they were given, and what is wrong with those that should be in a file.

    An empty variable is one that is not set. `NAME_FILE` names a file that holds the value of a secret `NAME`; white
    space at its end is no part of the secret.
    """
    values = {field: value for field in fields if (value := environ.get(variable(field)))}
    problems = []
    for field in secrets(fields):
        name = variable(field)
        path = environ.get(f"{name}_FILE")
        if not path:
            continue
        if field in values:
            problems.append(Problem((name,), f"{name} and {name}_FILE are both set; one of them must go"))
            continue
        try:
            values[field] = Path(path).read_text(encoding="utf-8").rstrip()
        except (OSError, ValueError) as error:
            problems.append(Problem((name,), f"{name}_FILE={path!r} cannot be read: {_why(error)}"))
    return {field: value for field, value in values.items() if value}, problems


def secret_files(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> dict[str, Path]:
    """The files of those secrets that are given by file."""
    return {name: Path(path) for name in secrets(fields) if (path := environ.get(f"{variable(name)}_FILE"))}


def unknown(environ: Mapping[str, str], fields: Mapping[str, FieldInfo]) -> Iterator[str]:
    """A sentence for each variable that looks like a misspelt one of ours."""
    names = {variable(field) for field in fields}
    files = {f"{variable(field)}_FILE" for field in secrets(fields)}
    prefixes = tuple({f"{name.partition('_')[0]}_" for name in names})
    for name in sorted(environ):
        if name in names | files or not name.startswith(prefixes) or _SERVICE_LINK.search(name):
            continue
        if name.removesuffix("_FILE") in names:
            yield f"{name} is not known: only secrets can be given by file; set {name.removesuffix('_FILE')}"
        elif similar := get_close_matches(name, names | files, n=2, cutoff=_SIMILAR):
            yield f"{name} is not known; did you mean {' or '.join(similar)}?"


def _why(error: OSError | ValueError) -> str:
    return (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8 text"
