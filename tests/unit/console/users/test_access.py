"""Each role on each route, through a proxy that names the user."""

from functools import partial
from ipaddress import ip_network

import httpx
import pytest

from tests.support.console import ConsoleHarness, parse_page, texts
from tests.unit.replay.harness import REFUSED, failed_metric, topic_of
from worker.console.identity import Role
from worker.console.masked_json import MASKED
from worker.console.users.proxy import ProxyPolicy, ProxyUsers
from worker.console.users.roles import RoleRules

URL = "https://console.example"
USERS = {None: "nina", Role.VIEWER: "vera", Role.OPERATOR: "otto", Role.EDITOR: "edna"}
ROLES = RoleRules(*(frozenset({f"user:{USERS[role]}"}) for role in (Role.VIEWER, Role.OPERATOR, Role.EDITOR)))
POLICY = ProxyPolicy("X-User", None, [ip_network("10.1.0.0/16")])
V, O, E = Role.VIEWER, Role.OPERATOR, Role.EDITOR  # noqa: E741 - columns of the table
ACTIONS = {"replay": O, "discard": O, "restore": O, "edit": E}


class Browser:
    """What the proxy sends for a user."""

    def __init__(self, harness: ConsoleHarness, role: Role | None, address: str = "10.1.0.9") -> None:
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(harness.app, client=(address, 1)),
            base_url=URL,
            headers={"X-User": USERS[role], "Origin": URL},
        )

    async def get(self, path: str) -> httpx.Response:
        return await self._client.get(path)

    async def post(self, path: str, token: str, **fields: str) -> httpx.Response:
        return await self._client.post(path, data={"token": token} | fields)

    async def token(self, kind: str = "discard") -> str:
        page = await self.get(f"/actions/new?do={kind}&letter=0:0")
        return page.text.partition('name="token" value="')[2].partition('"')[0]


@pytest.fixture
async def harness() -> ConsoleHarness:
    identify = partial(ProxyUsers, policy=POLICY, roles=ROLES)
    topic = await topic_of(failed_metric("a", REFUSED))
    harness = ConsoleHarness(topic, identify=identify, public_url=URL, mask="user_id")
    await harness.check()
    return harness


@pytest.mark.parametrize("role", [None, V, O, E])
async def test_pages_are_for_all_roles_and_nobody_else(harness: ConsoleHarness, role: Role | None) -> None:
    browser = Browser(harness, role)
    for path in ("/", "/history", "/letters/0:0", "/actions"):
        answer = await browser.get(path)
        assert answer.status_code == (403 if role is None else 200), path
    if role is None:
        assert "You are known as nina" in answer.text
    for path, least in (
        ("/letters/0:0/value", E),
        *((f"/actions/new?do={k}&letter=0:0", r) for k, r in ACTIONS.items()),
    ):
        assert (await browser.get(path)).status_code == (200 if role is not None and role >= least else 403), path
    assert ((await browser.get("/console.css")).status_code, (await browser.get("/x")).status_code) == (
        200, 403 if role is None else 404
    )  # fmt: skip


@pytest.mark.parametrize("kind", ACTIONS)
@pytest.mark.parametrize("role", [None, V, O, E])
async def test_each_action_needs_its_role(harness: ConsoleHarness, role: Role | None, kind: str) -> None:
    browser, other = Browser(harness, role), Browser(harness, E)
    is_allowed = role is not None and role >= ACTIONS[kind]
    fields = {
        "do": kind,
        "letter": "0:0",
        "reason": "x",
        "expression": ".",
        "limit": "1",
        "rate": "1",
        "max_replays": "1",
    }
    token = await browser.token()
    answer = await browser.post("/actions", token, **fields)
    assert answer.status_code == (303 if is_allowed else 403), answer.text
    answer = await other.post("/actions", await other.token(), **fields)
    for step in ("start", "stop"):
        done = await browser.post(f"{answer.headers['location']}/{step}", token)
        expected = 303 if role is E or (step == "stop" and role is O) else 403
        assert done.status_code == expected, step


async def test_action_is_masked_for_those_who_did_not_edit(harness: ConsoleHarness) -> None:
    editor, operator = Browser(harness, E), Browser(harness, O)
    fields = {"do": "edit", "letter": "0:0", "reason": "x", "limit": "1", "rate": "1", "max_replays": "1"}
    expression = '.user_id = "S3cret" | .metrics.a = "S3cret"'
    answer = await editor.post("/actions", await editor.token("edit"), **fields, expression=expression)
    path = answer.headers["location"]
    run = harness.actions.find(path.rpartition("/")[2])
    assert run is not None
    await harness.actions.wait(run, 20)
    assert "S3cret" in (await editor.get(path)).text
    page = (await operator.get(path)).text
    assert "S3cret" not in page
    assert f"edit {MASKED}" in texts(parse_page(page))


async def test_headers_of_a_browser_beside_the_proxy_are_not_believed(harness: ConsoleHarness) -> None:
    browser = Browser(harness, E, "10.2.0.1")
    assert (await browser.get("/")).status_code == 403
    assert (await browser.post("/actions", "x", do="discard")).status_code == 403
