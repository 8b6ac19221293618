"""The outcome of each error code of ClickHouse, read from `error_codes.txt` beside this module."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import NamedTuple

from worker.core.outcome import OutcomeKind


class KnownCode(NamedTuple):
    """ClickHouse's name of a code, the outcome of an INSERT that fails with it, and a sentence that says why."""

    name: str
    kind: OutcomeKind
    reason: str


def parse_codes(text: str) -> Iterator[tuple[int, KnownCode]]:
    """Each code in a text in the format of `error_codes.txt`."""
    kind, reason = OutcomeKind.UNCLASSIFIED, ""
    for line in text.splitlines():
        if line.startswith("["):
            kind = OutcomeKind(line.strip("[]"))
        elif line.startswith(" "):
            for code in line.rstrip(",").split(","):
                number, name = code.split()
                yield int(number), KnownCode(name, kind, reason)
        elif line and not line.startswith("#"):
            reason = line


CODES: Mapping[int, KnownCode] = MappingProxyType(
    dict(parse_codes((files("worker.clickhouse") / "error_codes.txt").read_text("utf-8")))
)
"""By number; a code that is absent is unclassified."""
