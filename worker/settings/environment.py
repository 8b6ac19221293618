"""Reading environment variables: empty values, secrets in files, misspelt names."""

import re
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from pydantic import SecretStr

from worker.settings.errors import SettingsProblem, field_type, variable_name
from worker.settings.fields import Settings

_SIMILAR = 0.8
"""Ratio of `difflib` at which a name counts as a misspelling: CLICKHOUSE_DB does, KAFKA_OPTS does not."""
# Kubernetes sets these variables in every pod for every Service.
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$"
)


def secret_fields() -> list[str]:
    """The fields that are secrets; each may be given by file."""
    return [name for name, field in Settings.model_fields.items() if field_type(field) is SecretStr]


def secret_files(environ: Mapping[str, str]) -> dict[str, Path]:
    """The files of those secrets (by field) that are given by file."""
    return {name: Path(path) for name in secret_fields() if (path := environ.get(f"{variable_name(name)}_FILE"))}


def read_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], list[SettingsProblem]]:
    """The value of each field that is set, and the problems of secrets that are given by file.

    An empty variable counts as not set. `NAME_FILE` names a file with the value of the secret `NAME`; white space at
    the end of the file is ignored.
    """
    values = {field: value for field in Settings.model_fields if (value := environ.get(variable_name(field)))}
    problems = []
    for field, path in secret_files(environ).items():
        name = variable_name(field)
        if field in values:
            problems.append(SettingsProblem((name,), f"{name} and {name}_FILE are both set; set only one"))
            continue
        try:
            values[field] = path.read_text(encoding="utf-8").rstrip()
        except (OSError, ValueError) as error:
            reason = (error.strerror or "") if isinstance(error, OSError) else "it is not UTF-8 text"
            problems.append(SettingsProblem((name,), f"{name}_FILE={str(path)!r} cannot be read: {reason}"))
    return {field: value for field, value in values.items() if value}, problems


def find_mistakes(environ: Mapping[str, str]) -> list[str]:
    """A sentence, without values of secrets, for each variable that is allowed, but may not be what was meant."""
    return [*find_misspelt_variables(environ), *find_empty_secret_files(environ)]


def find_empty_secret_files(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each secret whose file is empty, so that the secret counts as not set."""
    sentences = []
    for field, path in secret_files(environ).items():
        # One that cannot be read is an error, which `read_environment` finds.
        with suppress(OSError, ValueError):
            if not path.read_text(encoding="utf-8").strip():
                name = variable_name(field)
                sentences.append(f"{name}_FILE={str(path)!r} is empty: {name} counts as not set")
    return sentences


def find_misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence, without values, for each variable that looks like a misspelt one of ours."""
    names = {variable_name(field) for field in Settings.model_fields}
    known = names | {f"{variable_name(field)}_FILE" for field in secret_fields()}
    prefixes = tuple({f"{name.partition('_')[0]}_" for name in names})
    sentences = []
    for name in sorted(environ):
        if name in known or not name.startswith(prefixes) or _SERVICE_LINK.search(name):
            continue
        if name.removesuffix("_FILE") in names:
            meant = name.removesuffix("_FILE")
            sentences.append(f"{name} is not known: only secrets can be given by file; set {meant}")
        elif similar := get_close_matches(name, known, n=2, cutoff=_SIMILAR):
            sentences.append(f"{name} is not known; did you mean {' or '.join(similar)}?")
    return sentences
