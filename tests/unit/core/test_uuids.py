"""UUIDs as text."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import strategies  # noqa: F401  # sets the profile
from worker.core.uuids import parse_uuid

TEXT = "0b2d3c4e-5f60-4718-9a2b-3c4d5e6f7081"


@given(st.uuids())
def test_uuid_is_parsed_in_either_case(uuid: UUID) -> None:
    for text in (str(uuid), str(uuid).upper()):
        assert parse_uuid(text) == uuid
        assert hash(parse_uuid(text)) == hash(uuid)


@pytest.mark.parametrize(
    "value",
    [
        *(None, 12, [TEXT], "", f"{{{TEXT}}}", f"urn:uuid:{TEXT}", TEXT.replace("-", "")),
        *(TEXT.replace("-", "_"), TEXT.replace("b", "_"), "0b2d3c4e5-f60-4718-9a2b-3c4d5e6f7081"),
        *(TEXT[:-2] + end for end in ("0x", "  ", "-1", "\u00e9\u00e9", "\u0661\u0661")),
    ],
)
def test_another_form_is_none(value: object) -> None:
    assert parse_uuid(value) is None
