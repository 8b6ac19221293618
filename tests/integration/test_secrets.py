"""No secret is in what a failing run prints, logs or serves."""

from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from deploy.local.process import LOOPBACK
from tests.integration.conftest import StartWorker, produce
from tests.support.commands import Commands
from tests.support.events import encoded, event
from tests.support.local import wait_until
from worker.settings.clickhouse_target import clickhouse_target
from worker.settings.loading import load
from worker.settings.targets import kafka_target

pytestmark = pytest.mark.any_broker

SECRETS = {
    "KAFKA_SASL_PASSWORD": "s3cret-kafka-4711",
    "KAFKA_SSL_KEY_PASSWORD": "s3cret-kafka-key-4712",
    "CLICKHOUSE_PASSWORD": "s3cret-clickhouse-4713",
    "CLICKHOUSE_KEY_PASSWORD": "s3cret-clickhouse-key-4714",
}


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every TLS variable; the keys are encrypted with other passwords than those of the environment."""
    file = tmp_path_factory.mktemp("tls") / "key.pem"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"other"),
        )
    )
    return {
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "alice",
        "CLICKHOUSE_SECURE": "true",
        **{name: str(file) for name in ("KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE")},
        **{name: str(file) for name in ("CLICKHOUSE_CERT_FILE", "CLICKHOUSE_KEY_FILE")},
    }


def assert_no_secret(text: str) -> None:
    assert text, "there is no output to search"
    assert [secret for secret in SECRETS.values() if secret in text] == []


@pytest.mark.parametrize(
    "command", [("run",), ("check",), ("check", "--json"), ("dlq", "stats"), ("replay", "--yes"), ("migrate",)], ids=str
)
def test_failing_command_prints_no_secret(
    environment: dict[str, str], tls: dict[str, str], command: tuple[str, ...]
) -> None:
    done = Commands(environment | tls | SECRETS).run(*command, LOG_LEVEL="DEBUG")
    output = done.stdout + done.stderr
    assert done.returncode in (1, 3), output
    assert_no_secret(output)


@pytest.mark.parametrize("given_by", ["environment", "file"])
async def test_worker_with_a_refused_password_shows_no_secret(
    environment: dict[str, str], start_worker: StartWorker, tmp_path: Path, given_by: str
) -> None:
    secret = SECRETS["CLICKHOUSE_PASSWORD"]
    file = tmp_path / "password"
    file.write_text(secret)
    given = {"CLICKHOUSE_PASSWORD": secret} if given_by == "environment" else {"CLICKHOUSE_PASSWORD_FILE": str(file)}
    worker = start_worker(**given, LOG_LEVEL="DEBUG", CLICKHOUSE_USER="mallory")
    await produce(environment, encoded(event()))
    wait_until(lambda: "store" in worker.readiness(), "it holds")
    assert "CLICKHOUSE_PASSWORD" in worker.readiness()["store"]
    for path in ("", "livez", "readyz", "metrics"):
        assert_no_secret(_read(f"http://{LOOPBACK}:{worker.http_port}/{path}"))
    worker.stop()
    assert_no_secret(worker.process.output())


def _read(url: str) -> str:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own server
            return str(answer.read().decode())
    except HTTPError as refused:
        with refused:
            return refused.read().decode()


def test_settings_and_targets_show_no_secret(environment: dict[str, str], tls: dict[str, str]) -> None:
    settings = load(environment | tls | SECRETS)
    for printed in (settings, settings.model_dump(), kafka_target(settings), clickhouse_target(settings)):
        assert_no_secret(f"{printed!r} {printed}")
