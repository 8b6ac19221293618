"""The bytes of a record on a page: complete, and readable where they can be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values
from worker.console.payload import MAX_BYTES, present


@given(json_values, st.booleans(), st.sampled_from([None, 1]))
def test_indented_json_is_the_same_document(document: object, ascii_only: bool, indent: int | None) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    lines = present(text.encode("utf-8", "surrogatepass")).json
    if lines is None:
        assert not ascii_only, "a lone surrogate is no UTF-8"
        return
    assert all(line.isprintable() for line in lines)
    assert repr(json.loads("\n".join(lines))) == repr(json.loads(text))


def test_no_token_of_json_changes() -> None:
    text = b'{"a":[1,2.50,{}],"b":{"c":"x\\ny, {\\""},"e":NaN,"a":1e400,"\xc3\xa9":[[]], "n":123456789012345678901}'
    assert present(text).json == [
        "{", '  "a": [', "    1,", "    2.50,", "    {}", "  ],", '  "b": {', r'    "c": "x\ny, {\""', "  },",
        '  "e": NaN,', '  "a": 1e400,', '  "é": [', "    []", "  ],", '  "n": 123456789012345678901', "}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [b"", b"hello", b"{", b"[" * 18 + b"]" * 18, b"[" * 9_000 + b"]" * 9_000, b"[" + b"1," * 6_000 + b"1]",
     b'"' + b"x" * MAX_BYTES + b'"'],
    ids=["empty", "text", "cut", "deep", "very deep", "long", "large"],
)  # fmt: skip
def test_what_is_no_json_or_too_much_of_it_is_text(value: bytes) -> None:
    payload = present(value)
    assert (payload.size, payload.json, payload.dump) == (len(value), None, None)
    assert payload.text.startswith(value[:1_000].decode())
    assert len(payload.text) <= MAX_BYTES + 1


def test_other_bytes_are_dumped() -> None:
    payload = present(b"\xff\x00abc<\x7f" + bytes(4))
    assert payload.dump == [
        "000000  ff 00 61 62 63 3c 7f 00  ..abc<..",
        "000008  00 00 00                 ...",
    ]
    assert payload.text.startswith(r"\xff\x00abc<\x7f")
    assert present(b"\xff" * 10_000).dump == present(b"\xff" * 2_048).dump
