"""Escape foreign text, so that it cannot control the terminal that shows it."""


def escape_control_characters(text: str, longest: int | None = None) -> str:
    r"""`text` on one line, with an escape for each character that is not printable.

    Control characters, marks that change the direction of writing, line breaks and lone surrogates become `\x1b`,
    `\u202e`, `\n`. What is longer than `longest` characters is cut, and ends with `…`.
    """
    if longest is not None and len(text) > longest:
        return escape_control_characters(text[: longest - 1]) + "…"
    return "".join(
        character if character.isprintable() and character != "\\" else ascii(character)[1:-1] for character in text
    )


def escape_bytes(value: bytes, longest: int | None = None) -> str:
    r"""`value` as `escape_control_characters` shows text, with `\xff` for a byte that is not UTF-8."""
    cut = longest is not None and len(value) > longest
    text = value[:longest].decode("utf-8", "surrogateescape")
    return "".join(
        # Byte 0xff was decoded as U+DCFF.
        f"\\x{ord(character) - 0xDC00:02x}"
        if "\udc80" <= character <= "\udcff"
        else escape_control_characters(character)
        for character in text
    ) + ("…" if cut else "")
