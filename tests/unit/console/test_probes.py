"""The probes need no user and no name of the host."""

import httpx
import pytest

from tests.support.console import ConsoleHarness
from tests.support.fakes import MemoryTopic
from worker.console.probes import Probes


@pytest.mark.parametrize(("is_ready", "path", "status"), [
    (False, "/livez", 200), (False, "/readyz", 503), (True, "/livez", 200), (True, "/readyz", 200), (True, "/", 400),
])  # fmt: skip
async def test_probes_are_answered_by_any_name(is_ready: bool, path: str, status: int) -> None:
    app = Probes(ConsoleHarness(MemoryTopic()).app, lambda: is_ready)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://10.1.2.3:8090") as client:
        assert (await client.get(path)).status_code == status
        assert (await client.post(path)).status_code == 400, "the guard answers"
