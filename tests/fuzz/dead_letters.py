"""Dead letters as they are found, on pages by their source, so that a long run needs little memory."""

from __future__ import annotations

import json
import pickle
import re
from contextlib import ExitStack
from hashlib import sha256
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.fuzz.sent_records import RecordPosition

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fuzz.fuzz_record import Headers

_POLL_MS = 500
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
        headers: those that stand before the added ones.
        faults: what is wrong with the added headers, in words.
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
    """Read the record of a dead letter.

    Raises:
        ValueError, KeyError: it is none.
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
        faults=tuple(_faults(added, len(names) - start)),
    )


def _faults(added: dict[str, str], count: int) -> list[str]:
    rules = {
        "an added header stands twice": len(added) == count,
        "not of an event or a metric": added["dlq.kind"] in ("event", "metric"),
        "the type of the error is no name": _ERROR_TYPE.fullmatch(added["dlq.error.type"]),
        "the message is too long": len(added["dlq.error.message"]) <= _MAX_MESSAGE,
        "it was not replayed": added["dlq.replays"] == "0",
        "there is no table": added["dlq.table"],
        "there is no version": added["dlq.worker"],
        "a metric without its execution": ("dlq.execution_id" in added) == (added["dlq.kind"] == "metric"),
    }
    return [fault for fault, holds in rules.items() if not holds]


async def dead_letters(servers: str, topic: str) -> AsyncIterator[FoundDeadLetter]:
    """Every dead letter that is on `topic`, which has one partition, now."""
    partition = TopicPartition(topic, 0)
    async with AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest") as consumer:
        consumer.assign([partition])
        # Not end_offsets: Tansu answers with the first record of the last batch. What comes with a fetch is right.
        while (end := consumer.highwater(partition)) is None or await consumer.position(partition) < end:
            for record in (await consumer.getmany(partition, timeout_ms=_POLL_MS)).get(partition, ()):
                yield parse_dead_letter(record.key, record.value or b"", tuple(record.headers))


class DeadLetterPages:
    """Dead letters by partition and thousands of offsets of their source."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._files: dict[tuple[int, int], IO[bytes]] = {}
        self._open = ExitStack()
        self.count = 0

    def __enter__(self) -> DeadLetterPages:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, letter: FoundDeadLetter) -> None:
        """Put a letter onto its page."""
        position, _ = letter.source
        page = position.partition, position.offset // self._size
        if page not in self._files:
            self._files[page] = self._open.enter_context(self._path(*page).open("w+b"))
        pickle.dump(tuple(letter), self._files[page])
        self.count += 1

    def read(self, partition: int, offsets: range) -> dict[int, list[FoundDeadLetter]]:
        """The letters of the sources at `offsets`, which begin a page, by offset."""
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
        """Pages that nobody has read: letters of records that are nowhere."""
        return sorted(self._files)

    def _path(self, partition: int, page: int) -> Path:
        return self._directory / f"letters-{partition}-{page}"
