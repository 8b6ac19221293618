"""OAUTHBEARER with a token endpoint: an issuer on loopback, and a broker that verifies its signatures.

The broker cuts each connection whose token has expired (`connections.max.reauth.ms`), because aiokafka does not
authenticate again on a connection. The worker then connects again, with a new token.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client

from deploy.local.apache_kafka.listener import Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.local import wait_until
from tests.support.token_issuer import TokenIssuer
from tests.support.topic import send

Environment = dict[str, str]
RunCommand = Callable[..., subprocess.CompletedProcess[str]]
LIFE_SECONDS = 4.0


@pytest.fixture(scope="module")
def issuer() -> Iterator[TokenIssuer]:
    with TokenIssuer().serve() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def listener(issuer: TokenIssuer) -> Listener:
    return Listener("OAUTH", "SASL_PLAINTEXT", issuer=issuer.url, reauthentication_ms=3_600_000)


@pytest.fixture(scope="module")
def oauth_broker(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    with ApacheKafka(tmp_path_factory.mktemp("oauth"), listeners=[listener]) as broker:
        yield broker


@pytest.fixture
def secret_file(issuer: TokenIssuer, tmp_path: Path) -> Path:
    file = tmp_path / "client-secret"
    file.write_text(issuer.client_secret)
    return file


@pytest.fixture
async def settings(
    issuer: TokenIssuer, listener: Listener, oauth_broker: ApacheKafka, environment: Environment, secret_file: Path
) -> Environment:
    """The variables of a worker on that listener; its topics exist. The test itself uses the plain listener."""
    environment["KAFKA_BOOTSTRAP_SERVERS"] = oauth_broker.bootstrap_servers
    topics = {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
    await create_topics(oauth_broker.bootstrap_servers, topics)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": listener.address,
        "KAFKA_SECURITY_PROTOCOL": listener.protocol,
        "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
        "KAFKA_OAUTH_TOKEN_URL": f"{issuer.url}/token",
        "KAFKA_OAUTH_CLIENT_ID": issuer.client_id,
        "KAFKA_OAUTH_CLIENT_SECRET_FILE": str(secret_file),
    }


def rotate_secret(issuer: TokenIssuer, file: Path) -> None:
    issuer.client_secret = "another-s3cret"  # noqa: S105
    file.write_text(issuer.client_secret)


async def test_worker_goes_on_across_expired_tokens_and_a_rotated_secret(
    issuer: TokenIssuer,
    settings: Environment,
    environment: Environment,
    clickhouse: Client,
    start_worker: StartWorker,
    secret_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(issuer, "life_seconds", LIFE_SECONDS)
    workload = Workload(environment, clickhouse)
    worker = start_worker(**settings)
    before = len(issuer.issued)
    rotate_secret(issuer, secret_file)
    for renewed in range(1, 4):
        await workload.send(50)
        workload.wait_until_written()
        wait_until(lambda: len(issuer.issued) >= before + renewed, "a new token", 30)  # noqa: B023
    await send(workload.servers, workload.topic, [b"garbage"])
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) > 0, "a dead letter", 30)
    worker.stop()
    assert workload.count_view() == 2 * workload.sent
    assert await workload.count_committed() == workload.sent + 1
    output = worker.process.output()
    assert not any(secret in output for secret in (*issuer.issued, issuer.client_secret))


def test_check_keeps_one_token_and_names_what_is_wrong(
    issuer: TokenIssuer, settings: Environment, run_command: RunCommand
) -> None:
    before = len(issuer.issued)
    done = run_command("check", **settings)
    assert done.returncode == 0, done.stdout
    assert len(issuer.issued) == before + 1
    wrong = run_command("check", **(settings | {"KAFKA_OAUTH_CLIENT_ID": "somebody"}))
    assert wrong.returncode == 3
    assert wrong.stdout.count("answers 401 invalid_client; see KAFKA_OAUTH_CLIENT_ID") == 3, wrong.stdout
    away = run_command("run", **(settings | {"KAFKA_OAUTH_TOKEN_URL": "http://127.0.0.1:1/token"}))
    assert away.returncode == 3
    assert "KAFKA_OAUTH_TOKEN_URL=http://127.0.0.1:1/token cannot be reached" in away.stderr.splitlines()[-1]


def test_tokens_of_a_function_are_accepted_and_a_strange_one_is_named(
    issuer: TokenIssuer, settings: Environment, run_command: RunCommand, tmp_path: Path
) -> None:
    signer = f"def token():\n    return {issuer.sign(60)!r}\n\ndef strange():\n    return {TokenIssuer().sign(60)!r}\n"
    (tmp_path / "signer.py").write_text(signer)
    settings = {name: value for name, value in settings.items() if not name.startswith("KAFKA_OAUTH")}
    settings |= {"PYTHONPATH": str(tmp_path), "KAFKA_TOKEN_PROVIDER": "signer:token"}
    done = run_command("check", **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    strange = run_command("check", **(settings | {"KAFKA_TOKEN_PROVIDER": "signer:strange"}))
    assert strange.returncode == 3
    assert strange.stdout.count("does not accept this token; see KAFKA_TOKEN_PROVIDER") == 3, strange.stdout
