"""The reference of the demo and the worker's decoder are written independently, and must agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.demo.reference import read_event
from deploy.local.demo.reference_fields import canonical_number
from tests.support.events import JANUARY_2026, encoded, record
from tests.support.readings import LABEL_ATTRIBUTES, comparable, read_with_worker
from tests.support.strategies import any_headers, any_values, damaged_documents, documents

if TYPE_CHECKING:
    from deploy.local.demo.careless import Headers


@given(
    st.one_of(
        documents.map(encoded), damaged_documents().map(encoded), any_values.filter(lambda value: value is not None)
    ),
    any_headers,
    st.sampled_from([-(2**63), -1, 0, JANUARY_2026, 2**63 - 1]),
)
def test_reference_and_worker_agree_on_any_bytes(value: bytes, headers: Headers, timestamp: int) -> None:
    """`tests/unit/tools/test_fuzz.py` has the envelopes of CloudEvents, and the limit of nesting."""
    found = read_with_worker(record(value, headers=headers, timestamp=timestamp))
    assert comparable(read_event(value, headers, timestamp, {}, LABEL_ATTRIBUTES)) == comparable(found)


@pytest.mark.parametrize(
    ("text", "literal", "same"),
    [
        ("1.0", "1", False),
        ("18446744073709551615", "18446744073709551615", True),
        ("18446744073709551614", "18446744073709551615", False),
        ("1.8446744073709552e+19", "18446744073709551616", True),
        ("0.1", "0.1000000000000000055511151231257827", True),
        ("0.1", "0.11", False),
        ("NaN", "Infinity", False),
        ("1e400", "2e400", False),
        ("1", "true", False),
    ],
)
def test_numbers_are_compared_as_the_contract_keeps_them(text: str, literal: str, same: bool) -> None:
    assert (canonical_number(text) == canonical_number(literal)) == same
