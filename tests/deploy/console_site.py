"""The console as it is deployed: a process with Kafka and ClickHouse, and an issuer at which its users sign in."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from deploy.local.process import LOOPBACK, free_port
from deploy.local.stack import Stack
from deploy.local.worker_process import WorkerProcess
from tests.deploy.browser import Browser, Tab
from tests.support.commands import Commands, write_dead_letters
from tests.support.events import event, read
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, LoopbackIssuer, run_issuer
from tests.support.local import wait_until
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure

USERS = {"vera": "viewers", "otto": "operators", "olga": "operators", "edna": "editors", "nina": "others"}
"""Users and their groups; that of nina has no role."""
_SECONDS = 60.0
_ERRORS = (ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR")


def failed(metric: str, value: float = 1, message: str = "gone") -> FailedMetric:
    """A metric of an execution of its own; the message is its cause."""
    item = read(event(execution_id=str(uuid4()), metrics={}))
    return FailedMetric(item, metric, value, Failure(*_ERRORS, message, 210), 1)


class ConsoleSite:
    """Broker, engine, issuer and console; a test may freeze the broker and kill the console."""

    def __init__(self, directory: Path, issuer: LoopbackIssuer) -> None:
        self.issuer = issuer
        self.stack = Stack(directory)
        self._port = free_port()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self._directory = directory

    @contextmanager
    def run(self, *dead_letters: FailedMetric) -> Iterator[None]:
        """Start all of it, with these dead letters."""
        with ExitStack() as opened:
            opened.enter_context(self.stack)
            asyncio.run(write_dead_letters(self.stack.environment(), *dead_letters))
            groups = {f"CONSOLE_{name.upper()}": name for name in ("viewers", "operators", "editors")}
            environment = (
                self.stack.environment()
                | groups
                | {
                    "CONSOLE_PORT": str(self._port),
                    "CONSOLE_PUBLIC_URL": self.url,
                    "CONSOLE_OIDC_ISSUER": self.issuer.url,
                    "CONSOLE_OIDC_CLIENT_ID": CLIENT_ID,
                    "CONSOLE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
                }
            )
            self.console = WorkerProcess(self._directory, environment, "console", ("console",))
            opened.callback(self.console.process.kill)
            self.console.start()
            self.commands = Commands(self.stack.environment())
            yield

    @contextmanager
    def sign_in(self, browser: Browser, user: str, path: str = "/") -> Iterator[Tab]:
        """The page that a user sees who has signed in; it has cookies of its own."""
        self.issuer.claims = {"preferred_username": user, "groups": [USERS[user]]}
        with browser.open(self.url + path) as tab:
            wait_for(tab, lambda: "The console waits" not in tab.text(), "the topic is scanned")
            yield tab

    def rows(self, metric: str) -> list[tuple[float, int]]:
        """Each value of a metric in the de-duplicated view, and how often it is there."""
        query = (
            "SELECT metric_value, count() FROM execution_metrics_deduplicated WHERE metric_type = %(metric)s GROUP BY 1"
        )
        with self.stack.engine.client(self.stack.database) as client:
            rows: list[tuple[float, int]] = client.execute(query, {"metric": metric})
        return rows

    def count_written(self) -> int:
        """Rows in the table, repeated ones too."""
        with self.stack.engine.client(self.stack.database) as client:
            return int(client.execute("SELECT count() FROM execution_metrics")[0][0])

    def history(self) -> list[tuple[str, str]]:
        """Who has done what, by the journal."""
        return [(each["action"], each["by"]) for each in self.commands.json("dlq", "history")]


@contextmanager
def open_site(directory: Path) -> Iterator[ConsoleSite]:
    """A site that does not run yet."""
    with run_issuer() as issuer:
        yield ConsoleSite(directory, issuer)


def wait_for(tab: Tab, condition: Callable[[], bool], what: str, seconds: float = _SECONDS) -> float:
    """Reload the page until it is as required; returns the seconds that took."""

    def check() -> bool:
        if condition():
            return True
        tab.go(str(tab.evaluate("location.href")))
        return False

    return wait_until(check, what, seconds, 0.2)
