"""The sign-in at a real issuer on loopback: what is refused, what a session is, and where it ends."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie
from itertools import islice
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from tests.support.console import parse_page, texts
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, LoopbackIssuer, run_issuer
from worker.console.identity import identity_of
from worker.console.users.issuer import Issuer, IssuerPolicy
from worker.console.users.roles import RoleRules
from worker.console.users.sign_in import SignInUsers
from worker.core.process import cancel_tasks
from worker.core.secrets import Secret

CONSOLE = "https://console.example"
ROLES = RoleRules(frozenset({"*"}), frozenset({"ops"}), frozenset({"user:ana"}))
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""The issuer is on loopback; the usual context takes longer to read than a test."""
SESSION, SIGN_IN = "__Host-console-session", "__Host-console-sign-in"


async def say_who(scope: Scope, receive: Receive, send: Send) -> None:
    """The pages."""
    identity = identity_of(Request(scope)) if "state" in scope else None
    await PlainTextResponse(f"{identity.name} {identity.role.name}" if identity else "style")(scope, receive, send)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Browser:
    """A browser with its cookies, which follows the redirects to the issuer and back."""

    def __init__(self, app: SignInUsers) -> None:
        self.console = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=CONSOLE)
        self.outside = httpx.AsyncClient(verify=NO_TLS)

    async def begin(self, path: str = "/sign-in") -> httpx.Response:
        """The answer of the issuer to which `path` leads."""
        answer = await self.console.get(path)
        if answer.headers["location"].startswith("/"):
            answer = await self.console.get(answer.headers["location"])
        return await self.outside.get(answer.headers["location"])

    async def sign_in(self, path: str = "/sign-in") -> httpx.Response:
        """The answer of the console to the browser that comes back."""
        return await self.console.get((await self.begin(path)).headers["location"])

    async def read(self) -> str:
        return (await self.console.get("/")).text

    async def close(self) -> None:
        await self.console.aclose()
        await self.outside.aclose()


@pytest.fixture(scope="module")
def shared_issuer() -> Iterator[LoopbackIssuer]:
    with run_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(shared_issuer: LoopbackIssuer) -> LoopbackIssuer:
    fresh = LoopbackIssuer.__dataclass_fields__
    for name in ("algorithm", "signs_with_other_key", "calls_itself", "is_away"):
        setattr(shared_issuer, name, fresh[name].default)
    shared_issuer.offered, shared_issuer.userinfo = ["RS256"], {}
    shared_issuer.claims = {"preferred_username": "ana", "groups": ["ops"]}
    shared_issuer.requests.clear()
    return shared_issuer


def create_app(issuer: LoopbackIssuer, /, *, is_secure: bool = True, **policy: Any) -> SignInUsers:
    values: dict[str, Any] = {
        "issuer": issuer.url,
        "client_id": CLIENT_ID,
        "client_secret": Secret(CLIENT_SECRET),
        "return_to": f"{CONSOLE}/signed-in",
        "scopes": "openid profile",
        "user_claim": "preferred_username",
        "groups_claim": "groups",
    }
    return SignInUsers(say_who, Issuer(IssuerPolicy(**values | policy)), ROLES, 3600, is_secure=is_secure)


@pytest.fixture
async def browser(issuer: LoopbackIssuer) -> AsyncIterator[Browser]:
    browser = Browser(create_app(issuer))
    yield browser
    await browser.close()


async def other_browser(browser: Browser) -> Browser:
    transport = browser.console._transport
    assert isinstance(transport, httpx.ASGITransport)
    return Browser(transport.app)  # type: ignore[arg-type]


async def test_sign_in_leads_back_to_the_page_with_name_and_role(browser: Browser) -> None:
    with capture_logs() as logs:
        answer = await browser.sign_in("/causes/1?page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/causes/1?page=2")
    assert await browser.read() == "ana EDITOR"
    assert {"event": "a user has signed in", "user": "ana"}.items() <= logs[-1].items()


async def test_cookie_of_the_session_is_hard_to_take(browser: Browser) -> None:
    cookies = SimpleCookie()
    for line in (await browser.sign_in()).headers.get_list("set-cookie"):
        cookies.load(line)
    cookie = cookies[SESSION]
    assert (cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True, True, "lax", "/", ""
    )  # fmt: skip
    assert cookie["max-age"] == "3600"
    assert len(cookie.value) >= 43, "256 bits, which nobody guesses"
    assert cookies[SIGN_IN]["max-age"] == "0"


async def test_cookie_works_without_tls_only_on_loopback(issuer: LoopbackIssuer) -> None:
    browser = Browser(create_app(issuer, is_secure=False))
    lines = (await browser.sign_in()).headers.get_list("set-cookie")
    assert [line.split("=")[0] for line in lines] == ["console-session", "console-sign-in"]
    assert all("HttpOnly" in line and "Secure" not in line for line in lines)
    await browser.close()


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"nonce": "another"}, "invalid_claim"),
        ({"nonce": None}, "missing_claim"),
        ({"aud": "another"}, "invalid_claim"),
        ({"aud": None}, "missing_claim"),
        ({"iss": "https://another.example"}, "invalid_claim"),
        ({"exp": 1}, "expired_token"),
        ({"exp": None}, "missing_claim"),
        ({"sub": None}, "missing_claim"),
        ({"aud": [CLIENT_ID, "another"], "azp": "another"}, "invalid_claim"),
    ],
)
async def test_token_with_a_wrong_claim_is_refused(
    browser: Browser, issuer: LoopbackIssuer, claims: dict[str, object], reason: str
) -> None:
    issuer.claims |= claims
    answer = await browser.sign_in()
    assert (answer.status_code, SESSION in browser.console.cookies) == (403, False)
    assert f"The issuer's answer is not valid ({reason})." in texts(parse_page(answer.text))


@pytest.mark.parametrize("offered", [["RS256"], ["RS256", "none", "HS256"]])
@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_token_that_anybody_could_have_signed_is_refused(
    browser: Browser, issuer: LoopbackIssuer, algorithm: str, offered: list[str]
) -> None:
    issuer.algorithm, issuer.offered = algorithm, offered
    assert (await browser.sign_in()).status_code == 403


async def test_token_of_an_unknown_key_is_refused(browser: Browser, issuer: LoopbackIssuer) -> None:
    issuer.signs_with_other_key = True
    assert (await browser.sign_in()).status_code == 403


async def test_new_key_of_the_issuer_is_fetched(browser: Browser, issuer: LoopbackIssuer) -> None:
    await browser.sign_in()
    issuer.change_key()
    assert (await browser.sign_in()).status_code == 303


async def test_address_of_a_sign_in_works_once_and_in_its_browser_only(browser: Browser) -> None:
    back = (await browser.begin()).headers["location"]
    other = await other_browser(browser)
    assert (await other.console.get(back)).status_code == 403, "an attacker's own sign-in is not given to a victim"
    cookie = browser.console.cookies[SIGN_IN]
    assert (await browser.console.get(back)).status_code == 303
    again = await other.console.get(back, headers={"Cookie": f"{SIGN_IN}={cookie}"})
    assert again.status_code == 403
    await other.close()


@pytest.mark.parametrize("query", ["", "?code=x", "?code=x&state=y", "?error=access_denied", "?error=<b>x</b>&state=y"])
async def test_invented_answer_of_the_issuer_is_refused(browser: Browser, query: str) -> None:
    await browser.begin()
    answer = await browser.console.get(f"/signed-in{query}")
    assert (answer.status_code, SESSION in browser.console.cookies) == (403, False)
    assert "<b>x" not in answer.text


async def test_second_tab_that_comes_back_later_finds_the_session(browser: Browser) -> None:
    first = (await browser.begin()).headers["location"]
    await browser.sign_in()
    answer = await browser.console.get(first)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_session_that_an_attacker_chose_is_not_used(browser: Browser) -> None:
    browser.console.cookies.set(SESSION, "chosen", domain="console.example")
    await browser.sign_in()
    assert "chosen" not in [cookie.value for cookie in browser.console.cookies.jar if cookie.name == SESSION][-1:]
    other = await other_browser(browser)
    answer = await other.console.get("/", headers={"Cookie": f"{SESSION}=chosen"})
    assert answer.status_code == 303
    await other.close()


async def test_second_sign_in_ends_the_session_before(browser: Browser) -> None:
    await browser.sign_in()
    old = browser.console.cookies[SESSION]
    await browser.sign_in()
    other = await other_browser(browser)
    assert (await other.console.get("/", headers={"Cookie": f"{SESSION}={old}"})).status_code == 303
    await other.close()


async def test_changed_cookie_is_nobody(browser: Browser) -> None:
    await browser.sign_in()
    secret = browser.console.cookies[SESSION]
    other = await other_browser(browser)
    for changed in (secret[:-1], secret[:-1] + ("A" if secret[-1] != "A" else "B"), secret.swapcase(), "", "a;b"):
        answer = await other.console.get("/", headers={"Cookie": f"{SESSION}={changed}"})
        assert answer.status_code == 303
    await other.close()


async def test_sign_out_ends_the_session_for_good(browser: Browser) -> None:
    await browser.sign_in()
    secret = browser.console.cookies[SESSION]
    assert (await browser.console.get("/sign-out")).text == "ana EDITOR", "a GET is only a page that there is not"
    for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        assert (await browser.console.post("/sign-out", headers=headers)).status_code == 403
    assert await browser.read() == "ana EDITOR"
    answer = await browser.console.post("/sign-out", headers={"Origin": CONSOLE})
    assert (answer.status_code, answer.headers["location"]) == (303, "/signed-out")
    page = await browser.console.get("/signed-out")
    assert 'href="/sign-in"' in page.text
    answer = await browser.console.get("/", headers={"Cookie": f"{SESSION}={secret}"})
    assert answer.status_code == 303


async def test_session_that_ended_leads_to_the_sign_in_and_does_nothing(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, issuer: LoopbackIssuer
) -> None:
    app = create_app(issuer)
    clock = Clock()
    monkeypatch.setattr(app._sessions, "_read_clock", clock)
    browser = Browser(app)
    await browser.sign_in()
    clock.now = 3599
    assert await browser.read() == "ana EDITOR"
    clock.now = 3600
    answer = await browser.console.get("/causes/1?page=2")
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Fcauses%2F1%3Fpage%3D2")
    for method, headers in (("POST", {}), ("GET", {"Sec-Fetch-Mode": "cors"})):
        answer = await browser.console.request(method, "/causes/1/replay", headers=headers)
        assert answer.status_code == 401
        page = texts(parse_page(answer.text))
        assert "Your session has ended" in page
        assert "Nothing was done" in page
    await browser.close()


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a\nb", "/\t/evil", "", "/" * 2000]
)
async def test_sign_in_leads_nowhere_else(browser: Browser, target: str) -> None:
    answer = await browser.console.get("/sign-in", params={"next": target})
    back = (await browser.outside.get(answer.headers["location"])).headers["location"]
    assert (await browser.console.get(back)).headers["location"] == "/"


async def test_user_without_a_role_is_told_whom_the_console_knows(issuer: LoopbackIssuer) -> None:
    app = create_app(issuer)
    app._admission._roles = RoleRules(frozenset(), frozenset({"sre"}), frozenset())
    browser = Browser(app)
    await browser.sign_in()
    answer = await browser.console.get("/")
    assert answer.status_code == 403
    page = texts(parse_page(answer.text))
    assert "You are known as ana, and have no role here. Your groups: ops." in page
    assert "Sign out" in page
    await browser.close()


@pytest.mark.parametrize("name", [None, "", 7, "a" * 251, "an\na", " ana"])
async def test_user_without_a_valid_name_is_refused(browser: Browser, issuer: LoopbackIssuer, name: object) -> None:
    issuer.claims |= {"preferred_username": name}
    issuer.userinfo = {"sub": "1"}
    answer = await browser.sign_in()
    assert answer.status_code == 403
    assert "no valid name in 'preferred_username'" in texts(parse_page(answer.text))


@pytest.mark.parametrize("answer", [False, "false"])
async def test_address_that_is_not_verified_is_no_name(issuer: LoopbackIssuer, answer: object) -> None:
    browser = Browser(create_app(issuer, user_claim="email"))
    issuer.claims |= {"email": "ana@example.com", "email_verified": answer}
    assert (await browser.sign_in()).status_code == 403
    issuer.claims |= {"email_verified": True}
    assert (await browser.sign_in()).status_code == 303
    await browser.close()


@pytest.mark.parametrize(
    ("groups", "role"), [("ops", "OPERATOR"), (["x", 7, "ops"], "OPERATOR"), ({"ops": 1}, "VIEWER")]
)
async def test_groups_are_a_list_or_one_name(
    browser: Browser, issuer: LoopbackIssuer, groups: object, role: str
) -> None:
    issuer.claims = {"preferred_username": "li", "groups": groups}
    await browser.sign_in()
    assert await browser.read() == f"li {role}"


async def test_claims_that_the_token_lacks_come_from_the_endpoint_for_them(
    browser: Browser, issuer: LoopbackIssuer
) -> None:
    issuer.claims = {}
    issuer.userinfo = {"sub": "1", "preferred_username": "li", "groups": ["ops"]}
    await browser.sign_in()
    assert await browser.read() == "li OPERATOR"
    issuer.userinfo["sub"] = "2"
    assert (await browser.sign_in()).status_code == 403


async def test_issuer_that_is_away_or_another_one_is_asked_again(browser: Browser, issuer: LoopbackIssuer) -> None:
    issuer.is_away = True
    with capture_logs() as logs:
        answer = await browser.console.get("/sign-in")
    assert (answer.status_code, "did not answer as it should" in answer.text) == (503, True)
    assert "503" in logs[-1]["error"]
    issuer.is_away, issuer.calls_itself = False, "https://another.example"
    assert (await browser.console.get("/sign-in")).status_code == 503
    issuer.calls_itself = None
    assert (await browser.sign_in()).status_code == 303


async def test_issuer_that_hangs_keeps_few_requests_waiting(issuer: LoopbackIssuer) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        browser = Browser(create_app(issuer, issuer=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        requests = [asyncio.create_task(browser.console.get("/sign-in")) for _ in range(25)]
        for answered in islice(asyncio.as_completed(requests), 5):
            assert "The issuer answers slowly" in (await answered).text
        await cancel_tasks(*requests)
        await browser.close()


async def test_wrong_secret_of_the_client_is_logged_without_it(issuer: LoopbackIssuer) -> None:
    browser = Browser(create_app(issuer, client_secret=Secret("outdated")))
    with capture_logs() as logs:
        answer = await browser.sign_in()
    assert (answer.status_code, "invalid_grant" in answer.text) == (403, True)
    assert logs[-1]["error"] == "invalid_grant"
    assert "outdated" not in str(logs)
    await browser.close()


async def test_each_action_is_logged_with_its_user(browser: Browser) -> None:
    await browser.sign_in()
    with capture_logs() as logs:
        await browser.read()
        await browser.console.post("/causes/1/replay")
    (entry,) = logs
    assert {"user": "ana", "role": "editor", "path": "/causes/1/replay", "status": 200}.items() <= entry.items()


async def test_style_needs_no_user(browser: Browser) -> None:
    assert (await browser.console.get("/console.css")).text == "style"
