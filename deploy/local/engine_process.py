"""The ClickHouse server of the local stack: `deploy.local.engine` in a process of its own."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from clickhouse_driver import Client

from deploy.local.process import LOOPBACK, Process, Server, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

READY = re.compile(r"^READY \S+ (\d+)$", re.MULTILINE)


class EngineProcess(Server):
    """One server with one data folder; after a kill and a start it has the same tables and the same port.

    Args:
        directory: the folder of data and log.
        port: 0 for a free one.
        user: the only user.
        password: of the user.
        tls: the options `--certificate FILE --client-authority FILE`; `client` cannot connect then.
        config: a configuration file of ClickHouse, for what statements cannot set, such as clusters.
    """

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        user: str = "default",
        password: str = "",
        tls: Sequence[str] = (),
        config: Path | None = None,
    ) -> None:
        self.port = port or free_port()
        self.user = user
        self.password = password
        self.process = Process(
            "engine",
            [
                *(sys.executable, "-m", "deploy.local.engine"),
                *("--data", str(directory / "clickhouse")),
                *("--port", str(self.port)),
                *("--user", user),
                *tls,
                *(("--config", str(config)) if config else ()),
            ],
            directory / "engine.log",
            {"CLICKHOUSE_PASSWORD": password},
        )

    @property
    def host(self) -> str:
        """The value of CLICKHOUSE_HOST."""
        return LOOPBACK

    def client(self, database: str = "", **options: object) -> Client:
        """A client of clickhouse-driver with its `options`. Close it, or use it in a `with`."""
        return Client(self.host, self.port, database, self.user, self.password, **options)

    def change_password(self, password: str) -> None:
        """Restart the server with another password."""
        self.stop()
        self.password = password
        self.process.update_environment(CLICKHOUSE_PASSWORD=password)
        self.start()

    def start(self) -> None:
        """Start the server; return when clients can connect."""
        self.process.start(READY.search)
