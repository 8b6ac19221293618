"""Users by the headers of a proxy: only a trusted one is believed, and only where it names one user."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from worker.console.identity import identity_of
from worker.console.users.proxy import ProxyPolicy, ProxyUsers
from worker.console.users.roles import RoleRules

POLICY = ProxyPolicy(
    "X-Auth-Request-User", "X-Auth-Request-Groups", [ip_network("10.1.0.0/16"), ip_network("fd00::/64")]
)
ROLES = RoleRules(frozenset({"*"}), frozenset({"ops"}), frozenset({"user:ana"}))
Pairs = list[tuple[str, str]]


async def say_who(scope: Scope, receive: Receive, send: Send) -> None:
    identity = identity_of(Request(scope)) if "state" in scope else None
    await PlainTextResponse(f"{identity.name} {identity.role.name}" if identity else "style")(scope, receive, send)


async def ask(
    headers: Pairs, client: str = "10.1.2.3", path: str = "/", method: str = "GET", policy: ProxyPolicy = POLICY
) -> httpx.Response:
    transport = httpx.ASGITransport(ProxyUsers(say_who, policy, ROLES), client=(client, 5000))
    async with httpx.AsyncClient(transport=transport, base_url="https://console.example") as browser:
        encoded: Any = [(name, value.encode("utf-8")) for name, value in headers]
        return await browser.request(method, path, headers=encoded)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("x-auth-request-user", "ana")], "ana EDITOR"),
        ([("X-Auth-Request-User", "li"), ("X-Auth-Request-Groups", "dev, ops")], "li OPERATOR"),
        ([("X-Auth-Request-User", "li"), ("X-Auth-Request-Groups", "operations,user:ana,")], "li VIEWER"),
        ([("X-Auth-Request-User", "zoë")], "zoë VIEWER"),
        ([("X-Auth-Request-User", "li"), ("X-Auth-Request-Groups", "dev,\u3000ops")], "li VIEWER"),
    ],
)
async def test_proxy_names_the_user_and_their_groups(headers: Pairs, expected: str) -> None:
    assert (await ask(headers)).text == expected


async def test_name_with_a_wide_space_is_not_the_name_without_it() -> None:
    assert (await ask([("X-Auth-Request-User", "\u3000ana")])).status_code == 401


@pytest.mark.parametrize("client", ["10.1.255.255", "::ffff:10.1.0.1", "fd00::1"])
async def test_addresses_of_the_proxy_are_trusted(client: str) -> None:
    assert (await ask([("X-Auth-Request-User", "ana")], client)).status_code == 200


@pytest.mark.parametrize("client", ["10.2.0.1", "127.0.0.1", "::1", "::ffff:10.2.0.1", "fd00:0:0:1::1", "testclient"])
async def test_other_addresses_are_refused_whatever_their_headers_say(client: str) -> None:
    headers = [
        ("X-Auth-Request-User", "ana"),
        ("X-Forwarded-For", "10.1.2.3"),
        ("X-Real-IP", "10.1.2.3"),
        ("Forwarded", "for=10.1.2.3"),
    ]
    with capture_logs() as logs:
        answer = await ask(headers, client)
    assert (answer.status_code, "ana" in answer.text) == (403, False)
    assert logs[-1]["client"] == client


async def test_connection_without_an_address_is_refused() -> None:
    transport = httpx.ASGITransport(ProxyUsers(say_who, POLICY, ROLES), client=None)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="https://console.example") as browser:
        assert (await browser.get("/", headers={"X-Auth-Request-User": "ana"})).status_code == 403


@pytest.mark.parametrize("name", ["X_Auth_Request_User", "X-Auth-Request_User", "X-Auth-Request-User-", "User"])
async def test_similar_header_is_not_read(name: str) -> None:
    assert (await ask([(name, "ana")])).status_code == 401
    assert (await ask([("X-Auth-Request-User", "li"), (name, "ana")])).text == "li VIEWER"


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Auth-Request-User", "li"), ("x-auth-request-user", "ana")],
        [("X-Auth-Request-User", "ana"), ("X-Auth-Request-User", "ana")],
        [("X-Auth-Request-User", "li"), ("X-Auth-Request-Groups", "dev"), ("X-Auth-Request-Groups", "ops")],
    ],
)
async def test_header_that_comes_twice_is_refused(headers: Pairs) -> None:
    answer = await ask(headers)
    assert (answer.status_code, "more than once" in answer.text) == (400, True)


@pytest.mark.parametrize("name", ["", "  ", "an\x1ba", "a" * 251])
async def test_name_that_is_none_is_refused(name: str) -> None:
    assert (await ask([("X-Auth-Request-User", name)])).status_code == 401


async def test_name_that_is_no_utf8_is_refused() -> None:
    transport = httpx.ASGITransport(ProxyUsers(say_who, POLICY, ROLES), client=("10.1.2.3", 1))
    async with httpx.AsyncClient(transport=transport, base_url="https://console.example") as browser:
        assert (await browser.get("/", headers=[(b"X-Auth-Request-User", b"\xff")])).status_code == 401


async def test_groups_are_not_read_without_a_header_for_them() -> None:
    headers = [("X-Auth-Request-User", "li"), ("X-Auth-Request-Groups", "ops")]
    assert (await ask(headers, policy=POLICY._replace(groups_header=None))).text == "li VIEWER"


async def test_style_needs_no_user_and_each_action_is_logged_with_its_user() -> None:
    assert (await ask([], "192.0.2.1", "/console.css")).text == "style"
    with capture_logs() as logs:
        await ask([("X-Auth-Request-User", "ana")], method="POST", path="/causes/1/replay")
    assert {"user": "ana", "role": "editor", "method": "POST", "client": "10.1.2.3"}.items() <= logs[-1].items()
