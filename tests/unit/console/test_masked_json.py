"""JSON without the values that a rule masks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.console.mask_rules import parse_mask_rules
from worker.console.masked_json import MASKED, mask_values
from worker.console.payload import split

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


def mask(text: str, rules: str) -> str:
    return "".join(mask_values(split(text), parse_mask_rules(rules).masks_field))


@pytest.mark.parametrize(
    ("text", "rules", "expected"),
    [
        ('{"a": 1, "b": {"a": [1, {"x": 2}]}, "c": "a"}', "a", '{"a":"•••","b":{"a":"•••"},"c":"a"}'),
        ('{"a": {"b": [[{"c": 1}], {}, []]}, "d": 2}', "a", '{"a":"•••","d":2}'),
        ('{"a": [{"b": 1}, {"b": 2}, 3]}', "a.b", '{"a":[{"b":"•••"},{"b":"•••"},3]}'),
        ('{"a": 1, "a": 2}', "a", '{"a":"•••","a":"•••"}'),
        (r'{"user\u005fid": 1}', "user_id", r'{"user\u005fid":"•••"}'),
        (r'{"a\"}": "]", "b": 1}', "b", r'{"a\"}":"]","b":"•••"}'),
        ('[{"a": NaN}, -1e400, {}, {"b": 1}]', "a", '[{"a":"•••"},-1e400,{},{"b":1}]'),
        ('["x", 1]', "a", '["x",1]'),
        ('["x", 1]', "*", '"•••"'),
        ('"x"', "*", '"•••"'),
        ("{}", "a", "{}"),
        ('{"": 1}', "*", '"•••"'),
    ],
)
def test_masked_values_are_replaced_and_nothing_else(text: str, rules: str, expected: str) -> None:
    assert mask(text, rules) == expected


@given(document=JSON, ascii_only=st.booleans())
def test_document_without_a_masked_field_stays_as_it_is(document: object, ascii_only: bool) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only)
    assert mask(text, "a field that is not there") == "".join(split(text))


@given(
    document=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    secret=JSON,
    depth=st.integers(0, 4),
    ascii_only=st.booleans(),
)
def test_masked_field_is_replaced_at_any_depth(
    document: dict[str, object], secret: object, depth: int, ascii_only: bool
) -> None:
    whole: object = document | {"the secret": secret}
    expected: object = document | {"the secret": MASKED}
    for _ in range(depth):
        whole, expected = {"x": [whole]}, {"x": [expected]}
    masked = mask(json.dumps(whole, ensure_ascii=ascii_only), "the secret")
    assert json.dumps(json.loads(masked)) == json.dumps(expected)
