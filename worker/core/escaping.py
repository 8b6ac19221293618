"""What others wrote, shown to a person: never as a control sequence of a terminal."""

from datetime import UTC, datetime


def escape_control_characters(text: str, longest: int | None = None) -> str:
    r"""`text` on one line, with an escape for everything that is no plain character.

    Control characters of both sets, marks that turn the direction of writing, line breaks, lone surrogates and
    whatever has no glyph become `\x1b`, `\u202e`, `\n`.

    Args:
        text: anything.
        longest: characters that are shown; the rest becomes `…`.
    """
    if longest is not None and len(text) > longest:
        return escape_control_characters(text[: longest - 1]) + "…"
    return "".join(
        character if character.isprintable() and character != "\\" else _escaped(character) for character in text
    )


def shown_bytes(value: bytes, longest: int | None = None) -> str:
    r"""`value` as `escape_control_characters` shows text, with `\\xff` for each byte that is not UTF-8."""
    cut = longest is not None and len(value) > longest
    text = value[:longest].decode("utf-8", "surrogateescape")
    return "".join(
        _undecodable(character) if "\udc80" <= character <= "\udcff" else escape_control_characters(character)
        for character in text
    ) + ("…" if cut else "")


def instant(milliseconds: int) -> str:
    """An instant in UTC for a person, to the second; the number itself where it is none that a calendar has."""
    try:
        return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return str(milliseconds)


def _escaped(character: str) -> str:
    return "\\\\" if character == "\\" else ascii(character)[1:-1]


def _undecodable(character: str) -> str:
    return f"\\x{ord(character) - 0xDC00:02x}"
