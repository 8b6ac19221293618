"""Users by the headers of a trusted proxy, such as oauth2-proxy, Pomerium or Istio.

Only the address that has connected counts: what headers say about addresses, anybody can write.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import NamedTuple

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.console.users.admission import OPEN_PATHS, Admission, Refused, client_address, outside_page
from worker.console.users.roles import RoleRules, User, is_valid_name

log = structlog.get_logger(__name__)


class ProxyPolicy(NamedTuple):
    """Whose headers are believed.

    Attributes:
        user_header: has the name of the user.
        groups_header: has their groups, separated by commas; None if the proxy sends none.
        networks: the addresses of the proxies.
    """

    user_header: str
    groups_header: str | None
    networks: Sequence[IPv4Network | IPv6Network]


class ProxyUsers:
    """ASGI middleware: each request is that of the user whom the proxy names."""

    def __init__(self, app: ASGIApp, policy: ProxyPolicy, roles: RoleRules) -> None:
        self._admission = Admission(app, roles)
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["path"] in OPEN_PATHS:
            await self._admission.pass_open(scope, receive, send)
            return
        try:
            await self._admission.admit(read_user(self._policy, scope), scope, receive, send)
        except Refused as refused:
            await outside_page(refused.status, refused.title, str(refused))(scope, receive, send)


def read_user(policy: ProxyPolicy, scope: Scope) -> User:
    """The user whom the proxy names. Raises Refused if it is no trusted one, or does not name exactly one."""
    address = client_address(scope)
    if not _is_trusted(policy, address):
        log.warning("a request did not come through a trusted proxy", client=address)
        raise Refused(403, "Not this way", "The console answers only through its proxy, at its public address.")
    name = _read_header(scope, policy.user_header)
    if name is None or not is_valid_name(name):
        log.warning("a proxy names no valid user", client=address, header=policy.user_header)
        raise Refused(401, "Not signed in", "The proxy does not say who you are.")
    groups = (_read_header(scope, policy.groups_header) if policy.groups_header else None) or ""
    return User(name, frozenset(group.strip(" ") for group in groups.split(",") if group.strip(" ")))


def _is_trusted(policy: ProxyPolicy, address: str | None) -> bool:
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)  # IPv4 on a socket for both
    return any((mapped or parsed) in network for network in policy.networks)


def _read_header(scope: Scope, name: str) -> str | None:
    """The value of a header. Raises Refused if there are two: the second one may be the client's own."""
    values = [value for key, value in scope["headers"] if key == name.lower().encode()]
    if len(values) > 1:
        log.warning("a request has a header of the proxy twice", client=client_address(scope), header=name)
        raise Refused(400, "Refused", f"The request has the header {name} more than once.")
    try:
        # No other kind of space is cut off: a name that begins with one is another name.
        return values[0].decode("utf-8").strip(" ") if values else None
    except UnicodeDecodeError:
        return None
