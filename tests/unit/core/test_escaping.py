"""Text and bytes of others are printed without control characters, and nothing of them is lost."""

from hypothesis import given
from hypothesis import strategies as st

from worker.core.escaping import escape_bytes, escape_control_characters


@given(st.text(st.characters()))
def test_escaped_text_is_printable_and_reversible(text: str) -> None:
    escaped = escape_control_characters(text)
    assert escaped.isprintable()
    assert escaped.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@given(st.binary())
def test_escaped_bytes_are_printable(value: bytes) -> None:
    assert escape_bytes(value).isprintable()


def test_long_text_and_bytes_are_cut() -> None:
    assert escape_control_characters("abcdef", 4) == "abc…"
    assert escape_bytes(b"\xffabc", 2) == "\\xffa…"
