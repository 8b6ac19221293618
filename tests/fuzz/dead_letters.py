"""Dead letters as they are on the topic, and files of them by source, so that a long run needs little memory."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import ExitStack
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from deploy.local.demo.expectations import RecordPosition

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.fuzz_record import Headers

_FIRST_ADDED = "dlq.kind"
_ERROR_TYPE = re.compile(r"[A-Za-z0-9_]+")
_MAX_MESSAGE = 2_000


class FoundDeadLetter(NamedTuple):
    """A dead letter.

    Attributes:
        source: place and timestamp of the record, as the letter has them.
        metric: the name of the metric; None where the whole event failed.
        document: the value, parsed, of a metric or of a pointer; empty for an event's bytes.
        digest: SHA-256 of the value.
        size: of key, value and headers, in bytes.
        headers: those of the source record, which come before the added ones.
        faults: descriptions of what is wrong with the added headers.
    """

    source: tuple[RecordPosition, int]
    metric: str | None
    error_class: str
    error_type: str
    document: dict[str, Any]
    digest: str
    size: int
    key: bytes | None
    headers: Headers
    faults: tuple[str, ...]


def parse_dead_letter(key: bytes | None, value: bytes, headers: Headers) -> FoundDeadLetter:
    """Parse a record of the dead-letter topic.

    Raises:
        ValueError, KeyError: it is no dead letter.
    """
    names = [name for name, _ in headers]
    start = len(names) - 1 - names[::-1].index(_FIRST_ADDED)
    added = {name: (text or b"").decode() for name, text in headers[start:]}
    pointer = added["dlq.error.class"] == "too_large"
    is_metric = added["dlq.kind"] == "metric"
    document = json.loads(value) if pointer or is_metric else {}
    metric = None
    if is_metric:
        metric = added["dlq.metric"] if pointer else document["metric_type"]
    return FoundDeadLetter(
        source=(
            RecordPosition(int(added["dlq.source.partition"]), int(added["dlq.source.offset"])),
            int(added["dlq.source.timestamp"]),
        ),
        metric=metric,
        error_class=added["dlq.error.class"],
        error_type=added["dlq.error.type"],
        document=document,
        digest=sha256(value).hexdigest(),
        size=len(key or b"") + len(value) + sum(len(name) + len(text or b"") for name, text in headers),
        key=key,
        headers=headers[:start],
        faults=tuple(_find_faults(added, len(names) - start)),
    )


def _find_faults(added: dict[str, str], count: int) -> list[str]:
    rules = {
        "an added header is there twice": len(added) == count,
        "neither of an event nor of a metric": added["dlq.kind"] in ("event", "metric"),
        "the error type is no name": _ERROR_TYPE.fullmatch(added["dlq.error.type"]),
        "the message is too long": len(added["dlq.error.message"]) <= _MAX_MESSAGE,
        "it says that it was replayed": added["dlq.replays"] == "0",
        "there is no table": added["dlq.table"],
        "there is no version": added["dlq.worker"],
        "a metric without its execution": ("dlq.execution_id" in added) == (added["dlq.kind"] == "metric"),
    }
    return [fault for fault, holds in rules.items() if not holds]


class DeadLetterPages:
    """Dead letters in temporary files, by partition and `size` offsets of their source."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._files: dict[tuple[int, int], IO[bytes]] = {}
        self._open = ExitStack()

    def __enter__(self) -> DeadLetterPages:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, letter: FoundDeadLetter) -> None:
        """Append a dead letter to the page of its source."""
        position, _ = letter.source
        page = position.partition, position.offset // self._size
        if page not in self._files:
            self._files[page] = self._open.enter_context(self._path(*page).open("w+b"))
        pickle.dump(tuple(letter), self._files[page])

    def read(self, partition: int, offsets: range) -> dict[int, list[FoundDeadLetter]]:
        """The dead letters of one page by offset; `offsets` begin the page."""
        letters: dict[int, list[FoundDeadLetter]] = {}
        page = self._files.pop((partition, offsets.start // self._size), None)
        if page is None:
            return letters
        page.seek(0)
        while page.peek(1):  # type: ignore[attr-defined]  # a buffered file
            letter = FoundDeadLetter(*pickle.load(page))  # noqa: S301 - written by this process
            letters.setdefault(letter.source[0].offset, []).append(letter)
        return letters

    def unread(self) -> list[tuple[int, int]]:
        """Pages that were not read: their sources were never sent."""
        return sorted(self._files)

    def _path(self, partition: int, page: int) -> Path:
        return self._directory / f"letters-{partition}-{page}"
