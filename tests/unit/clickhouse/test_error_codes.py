"""The class of each error code of ClickHouse."""

from collections import Counter
from pathlib import Path

import pytest

from worker.clickhouse.error_codes import CODES, GROUPS
from worker.core.outcome import OutcomeKind

CODE_LIST = Path(__file__).with_name("error_codes.txt")
LISTED = [line.split() for line in CODE_LIST.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
CLICKHOUSE_NAMES = {int(number): name for number, name in LISTED}

REQUIRED = {
    OutcomeKind.REFUSED: {70, 117, 131, 321, 349, 395, 407, 469} | {6, 25, 26, 27, 38, 41, 72, 376, 441},
    OutcomeKind.TOO_LARGE: {160, 241, 307, 396},
    OutcomeKind.UNAVAILABLE: {242, 252, 279, 319, 745, 999},
    OutcomeKind.MISCONFIGURED: {16, 47, 60, 62, 80, 81, 115, 164, 192, 193, 194, 195, 452, 471, 472, 497, 516, 720},
}
SAYS_NOTHING_OF_THE_ROWS = (
    {3, 32, 33, 74, 75, 76, 95, 96, 100, 102, 107, 159, 173, 198, 201, 202, 203, 209, 210, 225, 236, 243, 244, 254, 265}
    | {285, 286, 289, 290, 297, 364, 384, 394, 425, 439, 499, 500, 700, 722, 733, 749, 776, 777, 778, 1000, 1019, 1020}
)  # fmt: skip
RAISED_FOR_A_VALUE = {69, 128, 130, 153, 190, 427, 467, 675, 676, 691}
"""ClickHouse 24.8 and 26.9 raise each of them when a MATERIALIZED column is computed from an unsuitable value."""
RAISED_FOR_A_VALUE_OR_A_SCHEMA = {12, 36, 43, 44, 53, 1001}
"""ClickHouse 24.8 or 26.9 raises each of them for a value too, but also for a wrong schema or a state of the server."""


def kinds_of(codes: set[int]) -> set[OutcomeKind]:
    return {CODES[code].kind for code in codes}


def test_code_list_has_each_number_once() -> None:
    assert len(CLICKHOUSE_NAMES) == len(LISTED) > 680


def test_every_code_of_clickhouse_is_classified_under_its_name() -> None:
    assert {code: classified.name for code, classified in CODES.items()} == CLICKHOUSE_NAMES


def test_no_code_is_in_two_groups() -> None:
    groups_of_each = Counter(code for group in GROUPS for code in group.names)
    assert [code for code, count in groups_of_each.items() if count > 1] == []


def test_code_has_the_class_and_the_reason_of_its_group() -> None:
    expected = {code: (name, group.kind, group.reason) for group in GROUPS for code, name in group.names.items()}
    assert expected == CODES


def test_each_group_has_codes_and_a_reason_of_its_own() -> None:
    assert all(group.names for group in GROUPS)
    assert len({group.reason for group in GROUPS}) == len(GROUPS)


def test_reasons_are_sentences_for_an_operator() -> None:
    assert [group.reason for group in GROUPS if not (group.reason[0].isupper() and group.reason.endswith("."))] == []


def test_codes_have_every_class_but_written() -> None:
    assert {group.kind for group in GROUPS} == set(OutcomeKind) - {OutcomeKind.WRITTEN}


@pytest.mark.parametrize("kind", REQUIRED)
def test_code_has_its_required_class(kind: OutcomeKind) -> None:
    assert kinds_of(REQUIRED[kind]) == {kind}


def test_state_of_server_network_and_disk_is_unavailable() -> None:
    assert kinds_of(SAYS_NOTHING_OF_THE_ROWS) == {OutcomeKind.UNAVAILABLE}


def test_value_that_a_function_does_not_accept_is_refused() -> None:
    assert kinds_of(RAISED_FOR_A_VALUE) == {OutcomeKind.REFUSED}


def test_code_for_a_value_or_a_schema_is_unclassified() -> None:
    assert kinds_of(RAISED_FOR_A_VALUE_OR_A_SCHEMA) == {OutcomeKind.UNCLASSIFIED}


def test_bug_of_the_server_does_not_refuse_rows() -> None:
    assert CODES[49].kind is OutcomeKind.UNCLASSIFIED


def test_table_of_codes_is_read_only() -> None:
    with pytest.raises(TypeError):
        CODES[1] = CODES[2]  # type: ignore[index]
