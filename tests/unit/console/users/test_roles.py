"""Which role a user has."""

import pytest

from worker.console.identity import Role
from worker.console.users.roles import RoleRules, User, parse_names


def rules(viewers: str = "", operators: str = "", editors: str = "") -> RoleRules:
    return RoleRules(parse_names(viewers), parse_names(operators), parse_names(editors))


@pytest.mark.parametrize(
    ("given", "groups", "role"),
    [
        (rules(viewers="*"), [], Role.VIEWER),
        (rules(viewers="dev"), ["dev"], Role.VIEWER),
        (rules(viewers="dev", operators="sre"), ["dev", "sre"], Role.OPERATOR),
        (rules("*", "*", "admins"), ["admins"], Role.EDITOR),
        (rules(editors="user:ana"), [], Role.EDITOR),
        (rules(editors="dev,user:ana"), [], Role.EDITOR),
        (rules(operators="sre"), ["dev"], None),
        (rules(), ["dev"], None),
    ],
)
def test_highest_role_of_name_and_groups_counts(given: RoleRules, groups: list[str], role: Role | None) -> None:
    assert given.find_role(User("ana", frozenset(groups))) is role


def test_user_cannot_take_the_name_of_a_group_and_no_group_that_of_a_user() -> None:
    assert rules(editors="admins").find_role(User("admins", frozenset())) is None
    assert rules(editors="user:ana").find_role(User("li", frozenset({"user:ana"}))) is None
    assert rules(editors="Admins").find_role(User("li", frozenset({"admins"}))) is None
