"""Who may ask the console, how, and what a browser may do with its answers."""

from collections.abc import AsyncGenerator, Sequence

import httpx
import pytest

from tests.support.console import ConsoleHarness
from tests.support.fakes import MemoryTopic
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console.server import listen
from worker.core.errors import SettingsError
from worker.core.model import Record

PATHS = (
    "/",
    "/history",
    "/letters/0:0",
    "/letters/0:0/value",
    "/console.css",
    "/causes/00000000",
    "/nothing",
    "/?page=x",
)


@pytest.fixture
async def harness() -> ConsoleHarness:
    harness = ConsoleHarness(await topic_of(failed_metric("a")))
    await harness.check()
    return harness


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("method", "host"), [("GET", "localhost"), ("POST", "localhost"), ("GET", "evil.example")])
async def test_every_answer_forbids_scripts_framing_guessing_and_storing(
    harness: ConsoleHarness, path: str, method: str, host: str
) -> None:
    headers = (await harness.request(path, method, host)).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'self';")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
@pytest.mark.parametrize("path", ["/", "/letters/0:0", "/nothing"])
async def test_no_method_but_get_and_head_is_answered(harness: ConsoleHarness, path: str, method: str) -> None:
    answer = await harness.request(path, method)
    if method == "get":
        assert answer.request.method == "GET", "the client writes it so"
        return
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


class BrokenTopic(MemoryTopic):
    """A topic whose reader has an error of this program."""

    is_broken = False

    async def read(self, partition: int, offsets: range) -> AsyncGenerator[Sequence[Record], None]:
        if self.is_broken:
            raise RuntimeError("the value of a user")
        async for records in super().read(partition, offsets):
            yield records


async def test_answer_to_an_error_of_the_program_has_the_headers_and_tells_nothing() -> None:
    topic = BrokenTopic()
    await topic.write([failed_metric("a")])
    harness = ConsoleHarness(topic)
    await harness.check()
    topic.is_broken = True
    answer = await harness.request("/letters/0:0", raises=False)
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_head_is_answered(harness: ConsoleHarness) -> None:
    assert (await harness.request("/", "HEAD")).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8090", "127.1.2.3", "[::1]:8090"])
async def test_names_of_loopback_are_answered(harness: ConsoleHarness, host: str) -> None:
    assert (await harness.request("/", host=host)).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil", "10.0.0.1", "0.0.0.0",  # noqa: S104
     "", "localhost:", "localhost:x", "localhost\n", "[::2]", "::1", "xlocalhost", "localhost, evil.example"],
)  # fmt: skip
async def test_other_names_are_refused_as_an_attacker_can_point_them_here(harness: ConsoleHarness, host: str) -> None:
    answer = await harness.request("/letters/0:0", host=host)
    assert answer.status_code == 400
    assert "execution" not in answer.text


@pytest.mark.parametrize(
    ("public_url", "host", "status"),
    [
        ("https://console.example", "console.example", 200),
        ("https://console.example", "CONSOLE.example:443", 200),
        ("https://console.example", "console.example:8443", 400),
        ("https://console.example", "consoleXexample", 400),
        ("https://console.example", "localhost", 400),
        ("https://console.example", "evil.console.example", 400),
        ("https://console.example", "console.example.evil.example", 400),
        ("https://console.example", "console.example@evil.example", 400),
        ("https://console.example", "", 400),
        ("https://console.example:8443", "console.example:8443", 200),
        ("https://console.example:8443", "console.example", 400),
        ("https://[fd00::1]", "[fd00::1]", 200),
        ("http://localhost", "localhost:80", 200),
    ],
)
async def test_only_the_public_name_is_answered(public_url: str, host: str, status: int) -> None:
    harness = ConsoleHarness(await topic_of(failed_metric("a")), public_url=public_url)
    await harness.check()
    assert (await harness.request("/", host=host)).status_code == status


async def test_request_with_two_names_is_refused(harness: ConsoleHarness) -> None:
    transport = httpx.ASGITransport(harness.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = [("Host", "localhost"), ("Host", "localhost")]
        assert (await client.get("/", headers=headers)).status_code == 400


def test_every_address_is_listened_on_once_users_are_known() -> None:
    listen("0.0.0.0", 0, knows_users=True).close()  # noqa: S104


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "console.example", "localhost.example"])  # noqa: S104
def test_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(SettingsError, match=f"CONSOLE_HOST={host} is not loopback.*does not know its users"):
        listen(host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_port_that_is_taken_is_named(host: str) -> None:
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError, match=f"CONSOLE_HOST={host} CONSOLE_PORT={port}"):
            listen(host, port)
