"""The outcome of each error code of ClickHouse, and the reason."""

from importlib.resources import files
from pathlib import Path

import pytest

from worker.clickhouse.error_codes import CODES, parse_codes
from worker.core.outcome import OutcomeKind

LISTED = [
    line.split()
    for line in Path(__file__).with_name("error_codes.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
CLICKHOUSE_NAMES = {int(number): name for number, name in LISTED}

REQUIRED = {
    OutcomeKind.REFUSED: (
        {6, 25, 26, 27, 38, 41, 69, 70, 72, 117, 128, 130, 131, 153, 190, 321, 346, 349, 366, 376, 395, 407, 427, 441}
        | {467, 469, 490, 563, 621, 632, 645, 675, 676, 691}
    ),
    OutcomeKind.TOO_LARGE: {158, 160, 241, 307, 396},
    OutcomeKind.UNAVAILABLE: (
        {3, 32, 33, 74, 75, 76, 95, 96, 100, 102, 107, 159, 173, 198, 201, 202, 203, 209, 210, 225, 236, 242, 243, 244}
        | {252, 254, 265, 279, 285, 286, 289, 290, 297, 319, 364, 384, 394, 425, 439, 499, 500, 700, 722, 733, 745, 749}
        | {776, 777, 778, 999, 1000, 1019, 1020}
    ),
    OutcomeKind.MISCONFIGURED: {16, 47, 60, 62, 80, 81, 115, 164, 192, 193, 194, 195, 452, 471, 472, 497, 516, 720},
    OutcomeKind.UNCLASSIFIED: {12, 36, 43, 44, 49, 53, 1001},
}  # fmt: skip
"""Codes whose outcome is a promise. ClickHouse 24.8 or 26.9 raises those that are unclassified here for a value, but
also for a wrong schema, a state of the server or a bug of its own."""


def test_every_code_of_clickhouse_has_one_outcome_under_its_name() -> None:
    assert len(CLICKHOUSE_NAMES) == len(LISTED) > 680
    assert {code: classified.name for code, classified in CODES.items()} == CLICKHOUSE_NAMES
    text = (files("worker.clickhouse") / "error_codes.txt").read_text("utf-8")
    assert len(list(parse_codes(text))) == len(CODES)


def test_every_code_has_a_sentence_as_its_reason_that_belongs_to_one_outcome() -> None:
    kinds: dict[str, set[OutcomeKind]] = {}
    for classified in CODES.values():
        kinds.setdefault(classified.reason, set()).add(classified.kind)
    assert [reason for reason in kinds if not (reason[:1].isupper() and reason.endswith("."))] == []
    assert [reason for reason, of_reason in kinds.items() if len(of_reason) > 1] == []


@pytest.mark.parametrize("kind", REQUIRED)
def test_code_has_its_required_outcome_and_no_other_code_splits_a_block_at_once(kind: OutcomeKind) -> None:
    of_kind = {code for code, classified in CODES.items() if classified.kind is kind}
    assert REQUIRED[kind] <= of_kind
    assert of_kind == REQUIRED[kind] or kind not in (OutcomeKind.REFUSED, OutcomeKind.TOO_LARGE)
