"""Mutations of the bytes of an event, whatever they mean."""

from random import Random

from tests.fuzz.document import make_valid_document

_STRAY = (
    b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf",
    b'"', b"\\", b"{", b"]", b",", b"\n",
)  # fmt: skip
"""Bytes and sequences that parsers treat specially, or that are invalid UTF-8."""


def change(random: Random, value: bytes) -> tuple[str, bytes]:
    """Change the bytes of `value` once. Returns the name of the change and the new bytes."""
    chosen = random.choice(_RAW_CHANGES)
    return chosen.__name__.strip("_"), chosen(random, value)


def _flip(random: Random, value: bytes) -> bytes:
    changed = bytearray(value)
    for _ in range(random.choice((1, 1, 1, 2, 8))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(random: Random, value: bytes) -> bytes:
    changed = bytearray(value)
    changed[random.randrange(len(changed))] = random.choice(b'"{}[]:,0-9eE.\\\x00\xff \n')
    return bytes(changed)


def _cut(random: Random, value: bytes) -> bytes:
    start, end = sorted((random.randrange(len(value)), random.randrange(len(value) + 1)))
    return value[:start] + value[min(end, start + random.choice((1, 2, 16, 10_000))) :]


def _truncate(random: Random, value: bytes) -> bytes:
    return value[: random.randrange(len(value))]


def _insert(random: Random, value: bytes) -> bytes:
    at = random.randrange(len(value) + 1)
    return value[:at] + random.choice((random.randbytes(random.randrange(1, 8)), random.choice(_STRAY))) + value[at:]


def _repeat(random: Random, value: bytes) -> bytes:
    start = random.randrange(len(value))
    end = min(len(value), start + random.choice((1, 4, 40)))
    return value[:end] + value[start:end] * random.choice((1, 2, 500)) + value[end:]


def _splice(random: Random, value: bytes) -> bytes:
    other = make_valid_document(random).encoded()
    return value[: random.randrange(len(value))] + other[random.randrange(len(other)) :]


def _twice(random: Random, value: bytes) -> bytes:
    return value + random.choice((b"", b"\n", b",", b"\0")) + value


def _around(random: Random, value: bytes) -> bytes:
    before, after = random.choice(
        ((b"\xef\xbb\xbf", b""), (b" \t\r\n", b"\n"), (b"\0\0\0\0\1", b""), (b"", b"\0"), (b"[", b"]"), (b"\x0c", b""))
    )
    return before + value + after


def _encode(random: Random, value: bytes) -> bytes:
    return value.decode("utf-8", "replace").encode(
        random.choice(("utf-16", "utf-32", "utf-7", "latin-1", "cp037")), "replace"
    )


_RAW_CHANGES = (_flip, _flip, _overwrite, _cut, _truncate, _insert, _repeat, _splice, _twice, _around, _encode)
