"""TLS and passwords of ClickHouse against a real server: valid ones are accepted, the wrong variable is named."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from deploy.local.engine_process import EngineProcess
from deploy.local.process import LOOPBACK
from tests.support.events import block_of, many_events
from tests.support.tables import migrate
from worker.clickhouse.connection import ClickHouseTarget, run_statement
from worker.clickhouse.store import ClickHouseStore
from worker.core.errors import StoreError
from worker.core.outcome import WRITTEN, OutcomeKind
from worker.core.secrets import Secret
from worker.observability.telemetry import Telemetry

PASSWORD = "correct-horse-battery-staple"  # noqa: S105 - of a server that lives as long as the test


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificates of the server, of another host, of the worker, and of authorities."""
    folder = tmp_path_factory.mktemp("tls")
    authority, other_authority = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    other_authority.cert_pem.write_to_path(folder / "other_authority.pem")
    for name, host in (("here.pem", LOOPBACK), ("elsewhere.pem", "clickhouse.example.org")):
        authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(folder / name)
    for name, issuer in (("worker", authority), ("strange", other_authority)):
        issued = issuer.issue_cert("worker@example.org")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def server(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """A server with TLS that requires a client certificate and a password."""
    tls = ["--certificate", str(files / "here.pem"), "--client-authority", str(files / "ca.pem")]
    with EngineProcess(tmp_path_factory.mktemp("secured"), password=PASSWORD, tls=tls) as engine:
        yield engine


@pytest.fixture
def target(server: EngineProcess, files: Path) -> ClickHouseTarget:
    """A target with valid certificates and the password."""
    return ClickHouseTarget(
        server.host,
        server.port,
        password=PASSWORD,
        secure=True,
        ca_file=files / "ca.pem",
        cert_file=files / "worker.pem",
        key_file=files / "worker.key",
        connect_timeout_seconds=5,
        timeout_seconds=5,
    )


def refusal(target: ClickHouseTarget) -> StoreError:
    with pytest.raises(StoreError) as refused:
        run_statement(target, "SELECT 1")
    assert PASSWORD not in f"{refused.value} {refused.value.outcome.name} {target!r}"
    return refused.value


@pytest.mark.parametrize("changes", [{}, {"verify": False, "ca_file": None}], ids=["verified", "not verified"])
def test_certificates_and_password_are_accepted(target: ClickHouseTarget, changes: dict[str, Any]) -> None:
    assert run_statement(replace(target, **changes), "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"ca_file": "other_authority.pem"}, "CLICKHOUSE_CA_FILE"),
        ({"ca_file": None}, "CLICKHOUSE_CA_FILE"),
        ({"ca_file": "worker.key"}, "CLICKHOUSE_CA_FILE"),
        ({"cert_file": None, "key_file": None}, "CLICKHOUSE_CERT_FILE"),
        ({"cert_file": "strange.pem", "key_file": "strange.key"}, "CLICKHOUSE_CERT_FILE"),
        ({"key_file": "strange.key"}, "CLICKHOUSE_KEY_FILE"),
        ({"password": "wrong"}, "CLICKHOUSE_PASSWORD"),
        ({"user": "mallory"}, "CLICKHOUSE_USER"),
    ],
    ids=str,
)
def test_wrong_setting_is_misconfigured_and_names_the_variable(
    target: ClickHouseTarget, files: Path, changes: dict[str, str | None], variable: str
) -> None:
    changed = {name: files / value if name.endswith("file") and value else value for name, value in changes.items()}
    error = refusal(replace(target, **changed))  # type: ignore[arg-type]
    assert variable in str(error)
    # With TLS 1.3 a server that misses a certificate may close the connection before its alert is read.
    is_closed = variable == "CLICKHOUSE_CERT_FILE" and error.outcome.kind is OutcomeKind.UNAVAILABLE
    assert error.outcome.kind is OutcomeKind.MISCONFIGURED or is_closed


def test_certificate_of_another_host_is_misconfigured(target: ClickHouseTarget, files: Path, tmp_path: Path) -> None:
    with EngineProcess(tmp_path, tls=["--certificate", str(files / "elsewhere.pem")]) as engine:
        error = refusal(replace(target, port=engine.port))
    assert "another host; see CLICKHOUSE_HOST" in str(error)
    assert error.outcome.kind is OutcomeKind.MISCONFIGURED


def test_tls_on_one_side_only_names_the_setting(target: ClickHouseTarget, engine: EngineProcess) -> None:
    error = refusal(replace(target, port=engine.port))
    assert "CLICKHOUSE_SECURE" in str(error)
    assert error.outcome.kind is OutcomeKind.MISCONFIGURED
    plain = replace(target, secure=False, ca_file=None, cert_file=None, key_file=None)
    assert "CLICKHOUSE_SECURE" in str(refusal(plain))


async def test_changed_password_is_used_without_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("first\n")
    with EngineProcess(tmp_path, password="first") as engine:  # noqa: S106
        with engine.client() as client:
            client.execute("CREATE DATABASE metrics")
        target = ClickHouseTarget(engine.host, engine.port, "metrics", password=Secret("first", file))
        migrate(target)
        store = ClickHouseStore(target, 1, Telemetry())
        assert await store.insert(block_of(many_events(2), ["a"])) == WRITTEN

        engine.change_password("second")
        outcome = await store.insert(block_of(many_events(3), ["a"]))
        assert outcome.kind in (OutcomeKind.MISCONFIGURED, OutcomeKind.UNAVAILABLE)
        assert re.search(r"Authentication failed|closed|reset|refused|EOF", outcome.message)
        file.write_text("second\n")
        assert await store.insert(block_of(many_events(3), ["a"])) == WRITTEN

        file.write_text("third\n")
        engine.change_password("third")
        # The store is still marked as connected; the driver finds that it is not, and connects again.
        assert await store.insert(block_of(many_events(4), ["a"])) == WRITTEN, "changed before the server's, none fails"
        store.close()


async def test_changed_key_and_key_password_are_used_without_a_restart(
    server: EngineProcess, target: ClickHouseTarget, files: Path, tmp_path: Path
) -> None:
    run_statement(target, "CREATE DATABASE rotated")
    key, password = tmp_path / "worker.key", tmp_path / "password"
    encrypted = replace(target, database="rotated", key_file=key, key_password=Secret("first", password))

    def change(word: str) -> None:
        password.write_text(f"{word}\n")
        private = load_pem_private_key((files / "worker.key").read_bytes(), None)
        protection = BestAvailableEncryption(word.encode())
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))

    change("first")
    migrate(encrypted)
    store = ClickHouseStore(encrypted, 1, Telemetry())
    assert await store.insert(block_of(many_events(2), ["a"])) == WRITTEN
    change("second")
    server.restart()
    assert await store.insert(block_of(many_events(3), ["a"])) == WRITTEN
    store.close()
