"""The ClickHouse side of the local stack: `deploy.local.engine` in a process of its own."""

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
    """One engine over one data folder: killed and started again it has the same tables, on the same port.

    `tls` are its options `--certificate FILE --client-authority FILE`; then `client` does not reach it. `config` is a
    configuration file of ClickHouse, for what no statement can set, such as clusters.
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
        """As CLICKHOUSE_HOST wants it."""
        return LOOPBACK

    def client(self, database: str = "", **options: object) -> Client:
        """A client of the ordinary driver; `options` are the driver's own. Close it, or use it in a `with`."""
        return Client(self.host, self.port, database, self.user, self.password, **options)

    def change_password(self, password: str) -> None:
        """Start it again with another password, as somebody does who changes it."""
        self.stop()
        self.password = password
        self.process.update_environment(CLICKHOUSE_PASSWORD=password)
        self.start()

    def start(self) -> None:
        """Start it; returns when clients may connect."""
        self.process.start(READY.search)
