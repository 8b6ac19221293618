"""The actions of the console in Chromium, whose headers and redirects are its own: no scripts, only clicks."""

import asyncio

import pytest

from tests.deploy.browser import Browser
from tests.deploy.test_console_pictures import serve_console
from tests.support.console import ConsoleHarness
from tests.unit.replay.harness import failed_metric, topic_of
from worker.console.identity import Identity, Role

pytestmark = pytest.mark.timeout(300)


async def open_console() -> ConsoleHarness:
    harness = ConsoleHarness(
        await topic_of(failed_metric("a"), failed_metric("b")), identity=Identity("edna", Role.EDITOR)
    )
    await harness.check()
    return harness


def test_ticked_dead_letter_is_replayed_by_three_clicks(browser: Browser) -> None:
    harness = asyncio.run(open_console())
    with serve_console(harness) as address, browser.open(address) as tab:
        tab.click("article.cause h3 a")
        tab.click("input[value='0:1']", loads=False)
        tab.click("button[value=replay]")
        assert "Replay dead letter 0:1" in tab.text()
        tab.click("button.main")
        assert "Checked. Nothing was written yet." in tab.text()
        tab.click("button.main")
        assert "Done." in tab.text()
    assert [row.metric_type for row in harness.store.table] == ["b"]
