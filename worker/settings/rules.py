"""Rules between two variables, for problems of the settings."""

from collections.abc import Iterable, Iterator

from worker.settings.errors import SettingsProblem, missing_variable_problem
from worker.settings.fields import Settings


def conflict(name: str, relation: str, other: str, settings: Settings) -> SettingsProblem:
    """The problem of two variables of which each is valid."""
    one, two = (f"{value:g}" if isinstance(value := value_of(n, settings), float) else value for n in (name, other))
    return SettingsProblem((name, other), f"{name}={one} {relation} {other}={two}")


def require_certificate_and_key(
    certificate: str, key: str, password: str, settings: Settings
) -> Iterator[SettingsProblem]:
    """Problems of the half of a certificate, a key and its password."""
    for name, needed in ((certificate, key), (key, certificate), (password, key)):
        if value_of(name, settings):
            yield from require((needed,), name, settings)


def require(names: Iterable[str], condition: str, settings: Settings) -> Iterator[SettingsProblem]:
    """A problem for each of `names` that is not set although `condition` (a variable and its value) needs it."""
    for name in names:
        if not value_of(name, settings):
            yield missing_variable_problem(name, f", and {condition} needs it", condition.partition("=")[0])


def refuse_unused(names: Iterable[str], condition: str, settings: Settings) -> Iterator[SettingsProblem]:
    """A problem for each of `names` that is set although `condition` makes it void: an operator may rely on it."""
    for name in names:
        if value_of(name, settings):
            text = f"{name} is set, but has no effect with {condition}"
            yield SettingsProblem((name, condition.partition("=")[0]), text)


def value_of(name: str, settings: Settings) -> object:
    """The value of a variable."""
    return getattr(settings, name.lower())
