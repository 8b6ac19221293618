"""The rules of CONSOLE_MASK."""

import pytest

from worker.console.mask_rules import NO_RULES, parse_mask_rules


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        ("user_id", ["user_id"], True),
        ("user_id", ["data", "user_id"], True),
        ("user_id", ["USER_ID"], True),
        ("user_id", ["a_user_id"], False),
        ("user_id", ["user_id", "x"], False),  # never asked: the whole value is replaced
        ("labels.*", ["labels", "team"], True),
        ("labels.*", ["data", "labels", "team"], True),
        ("labels.*", ["labels"], False),
        ("labels.*", ["labels", "user.email"], True),
        ("labels.user.email", ["labels", "user.email"], True),
        ("labels.team", ["labels", "x", "team"], False),
        ("*_id", ["execution_id"], True),
        ("*mail*", ["labels", "E-Mail-2"], True),
        ("a, b", ["b"], True),
        ("a(b", ["a(b"], True),
        ("*", [], True),
        ("*", ["a"], True),
        ("a", [], False),
        ("header:a", ["a"], False),
        ("x", ["a" * 1_001], True),
    ],
)
def test_rule_matches_the_end_of_a_path(rules: str, path: list[str], expected: bool) -> None:
    assert parse_mask_rules(rules).masks_field(path) is expected


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        ("header:x-email", "X-Email", True),
        ("header:x-email", "ax-email", False),
        ("header:x-*", "x-user", True),
        ("HEADER:X-EMAIL", "x-email", True),
        ("x-email", "x-email", False),
        ("*", "anything", True),
    ],
)
def test_rule_matches_a_header(rules: str, name: str, expected: bool) -> None:
    assert parse_mask_rules(rules).masks_header(name) is expected


def test_without_rules_nothing_is_masked() -> None:
    assert not NO_RULES
    assert parse_mask_rules("header:a")
    assert not NO_RULES.masks_field(["a"])
    assert not NO_RULES.masks_header("a")
