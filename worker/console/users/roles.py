"""Which role a user has, by the rules of CONSOLE_VIEWERS, CONSOLE_OPERATORS and CONSOLE_EDITORS."""

from typing import NamedTuple

from worker.console.identity import Role

EVERYBODY = "*"
_USER = "user:"
MAX_NAME = 250
"""Characters; the journal repeats the name in each entry."""


class User(NamedTuple):
    """A user as the proxy or the issuer names them."""

    name: str
    groups: frozenset[str]


class RoleRules(NamedTuple):
    """Who has each role: groups, `user:NAME`, or `*`.

    A user needs the prefix, because users can choose their name at some issuers, and could take that of a group.
    """

    viewers: frozenset[str]
    operators: frozenset[str]
    editors: frozenset[str]

    def find_role(self, user: User) -> Role | None:
        """The highest role of a user; None without any."""
        names = {EVERYBODY, f"{_USER}{user.name}"} | {group for group in user.groups if not group.startswith(_USER)}
        for role, allowed in (
            (Role.EDITOR, self.editors),
            (Role.OPERATOR, self.operators),
            (Role.VIEWER, self.viewers),
        ):
            if names & allowed:
                return role
        return None


def parse_names(text: str | None) -> frozenset[str]:
    """The names of a variable, separated by commas."""
    return frozenset(text.split(",")) if text else frozenset()


def is_valid_name(name: str) -> bool:
    """Whether a name can be shown and written to the journal as it is."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and name == name.strip()
