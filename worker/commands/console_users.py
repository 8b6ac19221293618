"""How the console knows its users, by the settings."""

from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from typing import cast

from starlette.types import ASGIApp

from worker.console.identity import FixedIdentity, anonymous_identity
from worker.console.users.proxy import ProxyPolicy, ProxyUsers
from worker.console.users.roles import RoleRules, parse_names
from worker.core.errors import SettingsError
from worker.core.secrets import Secret
from worker.settings.fields import Settings


def knows_users(settings: Settings) -> bool:
    """Whether users are known; else everybody is anonymous."""
    return bool(settings.console_oidc_issuer or settings.console_proxy_user_header)


def choose_identification(settings: Settings) -> Callable[[ASGIApp], ASGIApp]:
    """What wraps the application in the middleware that finds out who asks."""
    if knows_users(settings) and settings.console_allow_anonymous_actions:
        raise SettingsError("--allow-anonymous-actions contradicts the configured users: nobody is anonymous")
    roles = RoleRules(
        parse_names(settings.console_viewers),
        parse_names(settings.console_operators),
        parse_names(settings.console_editors),
    )
    if settings.console_oidc_issuer:
        return _sign_in(settings, roles)
    if settings.console_proxy_user_header:
        return partial(ProxyUsers, policy=_proxy_policy(settings), roles=roles)
    identity = anonymous_identity(allow_actions=settings.console_allow_anonymous_actions)
    return partial(FixedIdentity, identity=identity)


def _sign_in(settings: Settings, roles: RoleRules) -> Callable[[ASGIApp], ASGIApp]:
    # Only here: Authlib and its client take 17 MB.
    from worker.console.users.issuer import Issuer, IssuerPolicy
    from worker.console.users.sign_in import RETURN_PATH, SignInUsers

    # `load` has checked that these are set together.
    public_url = cast("str", settings.console_public_url)
    policy = IssuerPolicy(
        issuer=cast("str", settings.console_oidc_issuer),
        client_id=cast("str", settings.console_oidc_client_id),
        client_secret=settings.secret("console_oidc_client_secret") or Secret(""),
        return_to=f"{public_url}{RETURN_PATH}",
        scopes=settings.console_oidc_scopes,
        user_claim=settings.console_oidc_user_claim,
        groups_claim=settings.console_oidc_groups_claim,
        ca_file=settings.console_oidc_ca_file,
    )
    is_secure = public_url.startswith("https:")
    return partial(
        SignInUsers,
        issuer=Issuer(policy),
        roles=roles,
        session_seconds=settings.console_session_seconds,
        is_secure=is_secure,
    )


def _proxy_policy(settings: Settings) -> ProxyPolicy:
    networks = (settings.console_trusted_proxies or "").split(",")
    return ProxyPolicy(
        settings.console_proxy_user_header or "", settings.console_proxy_groups_header, [*map(ip_network, networks)]
    )
