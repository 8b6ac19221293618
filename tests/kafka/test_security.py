"""Passwords and TLS: the right ones let the worker in, a wrong one is named by its variable, and no secret is shown."""

import asyncio
import json
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from clickhouse_driver import Client
from cryptography.hazmat.primitives import serialization

from deploy.local.apache_kafka.listener import Certificate, Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from deploy.local.environment import environment_without_settings
from deploy.local.process import LOOPBACK
from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded
from tests.support.local import wait_until
from tests.support.topic import send, size

USER, PASSWORD = "alice", "correct-horse-battery-staple"
WRONG = "wrong-horse-9f2c"
_SECONDS = 60

Environment = dict[str, str]
Run = Callable[..., subprocess.CompletedProcess[str]]


class Secured(NamedTuple):
    broker: ApacheKafka
    doors: dict[str, Listener]
    authority: str
    stranger: str
    """The certificate (PEM file) of an authority that nobody trusts."""

    def environment(self, door: str, mechanism: str | None = None) -> Environment:
        """What lets a worker in by a door; OTHER is a TLS door with the certificate of another host."""
        listener = self.doors[door]
        variables = {"KAFKA_BOOTSTRAP_SERVERS": listener.address, "KAFKA_SECURITY_PROTOCOL": listener.protocol}
        if listener.protocol.endswith("SSL"):
            variables["KAFKA_SSL_CA_FILE"] = self.authority
        if door == "MUTUAL":
            variables |= self.certificate("worker")
        if mechanism == "OAUTHBEARER":
            variables |= {"KAFKA_SASL_MECHANISM": mechanism, "KAFKA_SASL_PASSWORD": token(USER)}
        elif mechanism:
            variables |= {
                "KAFKA_SASL_MECHANISM": mechanism,
                "KAFKA_SASL_USERNAME": USER,
                "KAFKA_SASL_PASSWORD": PASSWORD,
            }
        return variables

    def certificate(self, name: str) -> Environment:
        """What shows the certificate of `worker`, or of `strange`, which an authority that nobody trusts has issued."""
        folder = Path(self.authority).parent
        return {"KAFKA_SSL_CERT_FILE": str(folder / f"{name}.pem"), "KAFKA_SSL_KEY_FILE": str(folder / f"{name}.key")}


def token(user: str, lives_seconds: int = 3600) -> str:
    """A JWT without a signature."""
    claims = {"sub": user, "iat": int(time.time()) - 1, "exp": int(time.time()) + lives_seconds}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker with a door for each protocol."""
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    ours, other = (_certificate(folder, authority, name) for name in (LOOPBACK, "kafka.example.org"))
    users = {USER: PASSWORD}
    doors = [
        Listener("SASL", "SASL_PLAINTEXT", users=users),
        Listener("TLS", "SSL", certificate=ours),
        Listener("BOTH", "SASL_SSL", users=users, certificate=ours),
        Listener("OTHER", "SSL", certificate=other),
        Listener("MUTUAL", "SSL", certificate=ours, requires_client_certificates=True),
    ]
    for name, issuer in (("worker", authority), ("strange", stranger)):
        issued = issuer.issue_cert("worker@example.org")
        issued.private_key_pem.write_to_path(folder / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(folder / f"{name}.pem")
    with ApacheKafka(folder, listeners=doors) as broker:
        yield Secured(broker, {door.name: door for door in doors}, str(folder / "ca.pem"), str(folder / "stranger.pem"))


def _certificate(folder: Path, authority: trustme.CA, host: str) -> Certificate:
    key_and_chain = folder / f"{host}.pem"
    issued = authority.issue_cert(host)
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), password=None)
    pkcs8 = key.private_bytes(  # Java reads no other
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_and_chain.write_bytes(pkcs8 + b"".join(part.bytes() for part in issued.cert_chain_pems))
    return Certificate(key_and_chain, folder / "ca.pem")


@pytest.fixture
async def there(secured: Secured, environment: Environment, clickhouse: Client) -> Loaded:
    """The test's topics on that broker; tests themselves come by its plain door."""
    environment["KAFKA_BOOTSTRAP_SERVERS"] = secured.broker.bootstrap_servers
    await create_topics(
        secured.broker.bootstrap_servers, {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
    )
    return Loaded(environment, clickhouse)


@pytest.fixture
def run(environment: Environment, there: Loaded) -> Run:
    """Runs `python -m worker …` with changes to the environment."""
    assert there.servers == environment["KAFKA_BOOTSTRAP_SERVERS"]

    def run(command: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", command],
            capture_output=True,
            text=True,
            env=environment_without_settings() | environment | changes,
            timeout=_SECONDS,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("door", "mechanism"),
    [
        ("SASL", "PLAIN"),
        ("SASL", "SCRAM-SHA-256"),
        ("SASL", "SCRAM-SHA-512"),
        ("TLS", None),
        ("BOTH", "SCRAM-SHA-512"),
        ("BOTH", "OAUTHBEARER"),
        ("MUTUAL", None),
    ],
)
async def test_events_become_rows_and_dead_letters(
    secured: Secured, there: Loaded, start_worker: StartWorker, door: str, mechanism: str | None
) -> None:
    worker = start_worker(**secured.environment(door, mechanism))
    await there.more(100)
    await send(there.servers, there.topic, [b"garbage"])
    there.wait_for_all()
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) > 0, "a dead letter")
    worker.stop()
    assert there.view() == 2 * there.put
    assert await size(there.servers, there.dlq_topic) == 1
    assert await there.committed() == 101
    assert PASSWORD not in worker.process.output()


WAYS_TO_BE_WRONG = {
    "password": ("SASL", "SCRAM-SHA-512", {"KAFKA_SASL_PASSWORD": WRONG}, "KAFKA_SASL_PASSWORD"),
    "password, plain": ("SASL", "PLAIN", {"KAFKA_SASL_PASSWORD": WRONG}, "KAFKA_SASL_PASSWORD"),
    "user": ("BOTH", "SCRAM-SHA-256", {"KAFKA_SASL_USERNAME": "mallory"}, "KAFKA_SASL_USERNAME"),
    "authority": ("TLS", None, {"KAFKA_SSL_CA_FILE": "stranger"}, "KAFKA_SSL_CA_FILE"),
    "host": ("OTHER", None, {}, "KAFKA_SSL_CHECK_HOSTNAME"),
    "plain to a TLS door": (
        "TLS",
        None,
        {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA_SSL_CA_FILE": ""},
        "KAFKA_SECURITY_PROTOCOL",
    ),
    "TLS to a plain door": ("SASL", None, {"KAFKA_SECURITY_PROTOCOL": "SSL"}, "KAFKA_SECURITY_PROTOCOL"),
    "token": ("BOTH", "OAUTHBEARER", {"KAFKA_SASL_PASSWORD": "not.a.token"}, "KAFKA_SASL_PASSWORD"),
    "token that is over": ("BOTH", "OAUTHBEARER", {"KAFKA_SASL_PASSWORD": token(USER, -60)}, "KAFKA_SASL_PASSWORD"),
    "no certificate": (
        "MUTUAL",
        None,
        {"KAFKA_SSL_CERT_FILE": "", "KAFKA_SSL_KEY_FILE": ""},
        "KAFKA_SSL_CERT_FILE",
    ),
    "certificate": ("MUTUAL", None, {"KAFKA_SSL_CERT_FILE": "strange"}, "KAFKA_SSL_CERT_FILE"),
    "key of another": ("MUTUAL", None, {"KAFKA_SSL_KEY_FILE": "strange key"}, "KAFKA_SSL_KEY_FILE"),
    "no password": ("SASL", None, {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}, "KAFKA_SECURITY_PROTOCOL"),
}


@pytest.mark.parametrize("way", WAYS_TO_BE_WRONG)
def test_what_is_wrong_is_named_and_no_secret_shown(secured: Secured, run: Run, way: str) -> None:
    door, mechanism, changes, setting = WAYS_TO_BE_WRONG[way]
    strange = secured.certificate("strange")
    if "strange" in changes.values():
        changes = strange
    known = {"stranger": secured.stranger, "strange key": strange["KAFKA_SSL_KEY_FILE"]}
    changes = {name: known.get(value, value) for name, value in changes.items()}
    done = run("run", **(secured.environment(door, mechanism) | changes))
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert setting in last, last
    assert secured.doors[door].address in last or way == "key of another"
    assert "Traceback" not in done.stderr
    assert WRONG not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


def test_check_says_the_same(secured: Secured, run: Run) -> None:
    environment = secured.environment("BOTH", "SCRAM-SHA-512")
    assert run("check", **environment).returncode == 0
    done = run("check", **(environment | {"KAFKA_SASL_PASSWORD": WRONG}))
    assert done.returncode == 3
    assert done.stdout.count("KAFKA_SASL_PASSWORD") == 3, done.stdout
    assert WRONG not in done.stdout + done.stderr


def test_the_name_of_the_host_may_be_left_unchecked(secured: Secured, run: Run) -> None:
    done = run("check", **secured.environment("OTHER"), KAFKA_SSL_CHECK_HOSTNAME="false")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("mechanism", ["PLAIN", "OAUTHBEARER"])
async def test_what_is_changed_in_its_file_works_without_a_restart(
    environment: Environment, clickhouse: Client, start_worker: StartWorker, tmp_path: Path, mechanism: str
) -> None:
    door, file = Listener("SASL", "SASL_PLAINTEXT", users={USER: PASSWORD}), tmp_path / "secret"
    file.write_text(PASSWORD if mechanism == "PLAIN" else token(USER))
    with ApacheKafka(tmp_path / "own", listeners=[door]) as broker:
        topics = {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
        await create_topics(broker.bootstrap_servers, topics)
        here = Loaded(environment | {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}, clickhouse)
        worker = start_worker(
            KAFKA_BOOTSTRAP_SERVERS=door.address,
            KAFKA_SECURITY_PROTOCOL=door.protocol,
            KAFKA_SASL_MECHANISM=mechanism,
            KAFKA_SASL_USERNAME=USER,
            KAFKA_SASL_PASSWORD_FILE=str(file),
            KAFKA_SESSION_TIMEOUT_SECONDS="6",
        )
        await here.more(50)
        here.wait_for_all()
        await asyncio.to_thread(broker.stop)
        door.users[USER] = "another-password"
        file.write_text("another-password" if mechanism == "PLAIN" else token("alice-again"))
        await asyncio.to_thread(broker.start)
        await here.more(50)
        await send(here.servers, here.topic, [b"garbage"])
        here.wait_for_all()
        wait_until(
            lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) > 0, "a dead letter", 30
        )
        worker.stop()
        assert "another-password" not in worker.process.output()
