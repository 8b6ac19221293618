"""Rules between the variables of the console: its users are known in one way, or not at all."""

from collections.abc import Iterable, Iterator

from worker.settings.errors import SettingsProblem, missing_variable_problem
from worker.settings.fields import Settings
from worker.settings.rules import require, value_of

_ISSUER, _HEADER = "CONSOLE_OIDC_ISSUER", "CONSOLE_PROXY_USER_HEADER"
_EITHER = f"{_ISSUER} or {_HEADER}"
_OF_ISSUER = ("CONSOLE_OIDC_CLIENT_ID", "CONSOLE_OIDC_CLIENT_SECRET")
_OF_SIGN_IN = (
    *_OF_ISSUER,
    "CONSOLE_OIDC_CA_FILE",
    "CONSOLE_OIDC_SCOPES",
    "CONSOLE_OIDC_USER_CLAIM",
    "CONSOLE_OIDC_GROUPS_CLAIM",
    "CONSOLE_SESSION_SECONDS",
)
_OF_PROXY = ("CONSOLE_TRUSTED_PROXIES", "CONSOLE_PROXY_GROUPS_HEADER")
_ROLES = ("CONSOLE_VIEWERS", "CONSOLE_OPERATORS", "CONSOLE_EDITORS")


def find_console_conflicts(settings: Settings) -> Iterator[SettingsProblem]:
    """Problems of variables of the console whose values do not fit together."""
    issuer, header = settings.console_oidc_issuer, settings.console_proxy_user_header
    if issuer and header:
        yield SettingsProblem((_ISSUER, _HEADER), f"{_ISSUER} and {_HEADER} are both set; set only one")
    if issuer:
        yield from require(_OF_ISSUER, _ISSUER, settings)
    else:
        yield from _refuse_without(_OF_SIGN_IN, _ISSUER, settings)
    if header:
        yield from require(("CONSOLE_TRUSTED_PROXIES",), _HEADER, settings)
    else:
        yield from _refuse_without(_OF_PROXY, _HEADER, settings)
    if issuer or header:
        yield from _find_conflicts_of_users(settings, _ISSUER if issuer else _HEADER)
    else:
        yield from _refuse_without(("CONSOLE_PUBLIC_URL", *_ROLES), _EITHER, settings)
    groups = settings.console_proxy_groups_header
    if header and groups and header.lower() == groups.lower():
        text = f"{_HEADER} and CONSOLE_PROXY_GROUPS_HEADER must differ"
        yield SettingsProblem((_HEADER, "CONSOLE_PROXY_GROUPS_HEADER"), text)


def _find_conflicts_of_users(settings: Settings, known_by: str) -> Iterator[SettingsProblem]:
    yield from require(("CONSOLE_PUBLIC_URL",), known_by, settings)
    if not any(value_of(name, settings) for name in _ROLES):
        yield missing_variable_problem(
            _ROLES[0], f", nor {_ROLES[1]} or {_ROLES[2]}: nobody could do anything", known_by
        )
    if settings.console_allow_anonymous_actions:
        name = "CONSOLE_ALLOW_ANONYMOUS_ACTIONS"
        yield SettingsProblem((name, known_by), f"{name}=true contradicts {known_by}: nobody is anonymous")


def _refuse_without(names: Iterable[str], needed: str, settings: Settings) -> Iterator[SettingsProblem]:
    """A problem for each of `names` that is set although nothing that needs it is: an operator may rely on it."""
    for name in names:
        if value_of(name, settings) != Settings.model_fields[name.lower()].default:
            involved = tuple(each for each in (_ISSUER, _HEADER) if each in needed)
            yield SettingsProblem((name, *involved), f"{name} is set, but has no effect without {needed}")
