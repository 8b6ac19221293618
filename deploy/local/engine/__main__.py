"""`python -m deploy.local.engine --data DIR [--port PORT]`: serve until SIGTERM or SIGINT."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import sys
from pathlib import Path

import click

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of the tables.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="A configuration file of ClickHouse.")
@click.option("--port", type=int, default=0, show_default=True, help="0 chooses a free one.")
@click.option("--user", default="default", show_default=True)
@click.option("--password", default="", envvar="CLICKHOUSE_PASSWORD", help="Set it in the environment instead.")
@click.option("--certificate", type=click.Path(path_type=Path), help="PEM file with key and chain; turns TLS on.")
@click.option(
    "--client-authority", type=click.Path(path_type=Path), help="PEM file; requires client certificates of it."
)
def main(
    data: Path,
    config: Path | None,
    port: int,
    user: str,
    password: str,
    certificate: Path | None,
    client_authority: Path | None,
) -> None:
    """Serve ClickHouse's native protocol on 127.0.0.1; prints `READY 127.0.0.1 PORT` when clients can connect."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Blocked before the engine starts its threads, which inherit the mask, so that only sigwait gets the signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    from deploy.local.engine.engine import Engine
    from deploy.local.engine.server import LOOPBACK, Server
    from deploy.local.engine.session import Credentials

    data.mkdir(parents=True, exist_ok=True)
    engine = Engine(data.resolve(), config and config.resolve())
    server = Server(engine, Credentials(user, password), port, _tls(certificate, client_authority))
    server.start()
    click.echo(f"READY {LOOPBACK} {server.port}")
    signal.sigwait(STOP_SIGNALS)
    if server.stop():
        engine.close()
    sys.stderr.flush()
    # Not sys.exit: threads inside the engine would delay the exit of the interpreter. The data on disk is complete.
    os._exit(0)


def _tls(certificate: Path | None, client_authority: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_authority)
    context.load_cert_chain(certificate)
    context.verify_mode = ssl.CERT_REQUIRED if client_authority else ssl.CERT_NONE
    return context


if __name__ == "__main__":
    main()
