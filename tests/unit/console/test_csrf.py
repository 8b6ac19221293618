"""Which requests are of a page of this console, and of this user."""

import pytest

from tests.support.console import ConsoleHarness
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console.csrf import CsrfTokens, is_same_origin
from worker.console.identity import Identity, Role
from worker.dead_letters.settlement import find_settlement

ANA, OTTO = Identity("ana", Role.OPERATOR), Identity("otto", Role.OPERATOR)
HOUR = 3_600.0
ORIGIN = "http://127.0.0.1:8090"


def test_token_is_of_one_user_one_role_one_process_and_half_a_day() -> None:
    now = [1_800_000_000.0]
    tokens = CsrfTokens(lambda: now[0])
    token = tokens.issue(ANA)
    assert tokens.is_valid(token, ANA)
    assert not tokens.is_valid(token, OTTO)
    assert not tokens.is_valid(token, ANA._replace(role=Role.EDITOR))
    assert not CsrfTokens(lambda: now[0]).is_valid(token, ANA)
    now[0] += 11 * HOUR
    assert tokens.is_valid(token, ANA)
    now[0] += 2 * HOUR
    assert not tokens.is_valid(token, ANA)


@pytest.mark.parametrize(
    "token", ["", ".", "x", "1", "1.", "-1.x", "²." + "0" * 64, "9" * 30 + "." + "0" * 64, "\udc80"]
)
def test_what_is_no_token_is_not_valid(token: str) -> None:
    assert not CsrfTokens().is_valid(token, ANA)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"origin": "http://localhost:8090", "host": "localhost:8090"}, True),
        ({"origin": "https://console.example", "host": "Console.example"}, True),
        ({"origin": "http://localhost:8091", "host": "localhost:8090"}, False),
        ({"origin": "http://evil.example", "host": "localhost:8090"}, False),
        ({"origin": "null", "host": "localhost:8090"}, False),
        ({"origin": "", "host": ""}, False),
        ({"host": "localhost:8090"}, False),
        ({"sec-fetch-site": "same-origin", "host": "localhost:8090"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://localhost:8090", "host": "localhost:8090"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost:8090", "host": "localhost:8090"}, False),
        ({"sec-fetch-site": "none", "origin": "http://localhost:8090", "host": "localhost:8090"}, False),
    ],
)
def test_request_of_another_site_is_recognised(headers: dict[str, str], expected: bool) -> None:
    assert is_same_origin(headers) is expected


async def open_console() -> ConsoleHarness:
    harness = ConsoleHarness(await topic_of(failed_metric("a")), identity=ANA)
    await harness.check()
    return harness


async def find_token(harness: ConsoleHarness) -> str:
    page = (await harness.request("/actions/new?do=discard&letter=0:0")).text
    return page.partition('name="token" value="')[2].partition('"')[0]


async def test_no_post_is_accepted_without_a_token_of_this_user_and_a_page_of_this_console() -> None:
    harness = await open_console()
    fields = {"do": "discard", "letter": "0:0", "reason": "r"}
    token = await find_token(harness)
    path = (await harness.post("/actions", fields)).headers["location"]
    harness.identity = OTTO
    foreign = await find_token(harness)
    harness.identity = ANA
    old = await find_token(await open_console())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for address in ("/actions", f"{path}/start", f"{path}/stop"):
        for wrong in (None, "", "x", foreign, old):
            data = fields if wrong is None else fields | {"token": wrong}
            answer = await harness.request(address, "POST", headers={"Origin": ORIGIN}, data=data)
            assert answer.status_code == 403, (address, wrong)
        origins = [{"Origin": text} for text in ("null", "http://[", "http://evil.example")]
        for origin in ({}, *origins, {"Sec-Fetch-Site": "cross-site"}):
            answer = await harness.request(address, "POST", headers=form | origin, data=fields | {"token": token})
            assert answer.status_code == 403, (address, origin)
        answer = await harness.request(
            address, "POST", headers={"Origin": ORIGIN, "Content-Type": "text/plain"}, data=fields | {"token": token}
        )
        assert answer.status_code == 415
    assert len(harness.actions.latest()) == 1
    assert not any(find_settlement(record) for record in harness.topic.records[0])


@pytest.mark.parametrize("path", ["/", "/actions/new", "/letters/0:0", "/actions/x/start", f"/actions/{'0' * 32}"])
async def test_no_other_path_takes_a_post(path: str) -> None:
    assert (await (await open_console()).post(path, {})).status_code == 405


@pytest.mark.parametrize("verb", ["start", "stop"])
async def test_action_is_not_changed_by_get(verb: str) -> None:
    harness = await open_console()
    path = (await harness.post("/actions", {"do": "discard", "letter": "0:0", "reason": "r"})).headers["location"]
    assert (await harness.request(f"{path}/{verb}")).status_code == 405
    assert harness.actions.latest()[0].state == "ready"


async def test_form_that_is_too_large_is_refused() -> None:
    harness = await open_console()
    assert (await harness.post("/actions", {"x": "x" * 70_000})).status_code == 413
