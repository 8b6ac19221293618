"""SASL and TLS: the worker connects with the right settings, and names the wrong one without showing a secret."""

import asyncio
import json
import subprocess
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme
from clickhouse_driver import Client
from cryptography.hazmat.primitives import serialization

from deploy.local.apache_kafka.listener import Certificate, Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from deploy.local.process import LOOPBACK
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload
from tests.support.local import wait_until
from tests.support.topic import send, size

USER, PASSWORD = "alice", "correct-horse-battery-staple"
WRONG = "wrong-horse-9f2c"
_SECONDS = 60

Environment = dict[str, str]
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


class Secured(NamedTuple):
    broker: ApacheKafka
    listeners: dict[str, Listener]
    authority: str
    stranger: str
    """The certificate (PEM file) of a CA that the worker and the broker do not trust."""

    def environment(self, name: str, mechanism: str | None = None) -> Environment:
        """The settings for a listener; OTHER is a TLS listener with the certificate of another host."""
        listener = self.listeners[name]
        variables = {"KAFKA_BOOTSTRAP_SERVERS": listener.address, "KAFKA_SECURITY_PROTOCOL": listener.protocol}
        if listener.protocol.endswith("SSL"):
            variables["KAFKA_SSL_CA_FILE"] = self.authority
        if name == "MUTUAL":
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
        """The settings for a client certificate: `worker`, or `strange`, which an untrusted CA has issued."""
        folder = Path(self.authority).parent
        return {"KAFKA_SSL_CERT_FILE": str(folder / f"{name}.pem"), "KAFKA_SSL_KEY_FILE": str(folder / f"{name}.key")}


def token(user: str, valid_seconds: int = 3600) -> str:
    """A JWT without a signature."""
    claims = {"sub": user, "iat": int(time.time()) - 1, "exp": int(time.time()) + valid_seconds}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)]
    return ".".join([*parts, ""])


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A broker with a listener for each protocol."""
    folder = tmp_path_factory.mktemp("secured")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    stranger.cert_pem.write_to_path(folder / "stranger.pem")
    ours, other = (_certificate(folder, authority, name) for name in (LOOPBACK, "kafka.example.org"))
    users = {USER: PASSWORD}
    listeners = [
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
    with ApacheKafka(folder, listeners=listeners) as broker:
        yield Secured(
            broker,
            {listener.name: listener for listener in listeners},
            str(folder / "ca.pem"),
            str(folder / "stranger.pem"),
        )


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
async def workload(secured: Secured, environment: Environment, clickhouse: Client) -> Workload:
    """Topics on that broker; the test itself uses the plain listener."""
    environment["KAFKA_BOOTSTRAP_SERVERS"] = secured.broker.bootstrap_servers
    await create_topics(
        secured.broker.bootstrap_servers, {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
    )
    return Workload(environment, clickhouse)


@pytest.mark.parametrize(
    ("listener", "mechanism"),
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
    secured: Secured, workload: Workload, start_worker: StartWorker, listener: str, mechanism: str | None
) -> None:
    worker = start_worker(**secured.environment(listener, mechanism))
    await workload.send(100)
    await send(workload.servers, workload.topic, [b"garbage"])
    workload.wait_until_written()
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) > 0, "a dead letter")
    worker.stop()
    assert workload.count_view() == 2 * workload.sent
    assert await size(workload.servers, workload.dlq_topic) == 1
    assert await workload.count_committed() == 101
    assert PASSWORD not in worker.process.output()


WRONG_SETTINGS = {
    "password": ("SASL", "SCRAM-SHA-512", {"KAFKA_SASL_PASSWORD": WRONG}, "KAFKA_SASL_PASSWORD"),
    "password, plain": ("SASL", "PLAIN", {"KAFKA_SASL_PASSWORD": WRONG}, "KAFKA_SASL_PASSWORD"),
    "user": ("BOTH", "SCRAM-SHA-256", {"KAFKA_SASL_USERNAME": "mallory"}, "KAFKA_SASL_USERNAME"),
    "authority": ("TLS", None, {"KAFKA_SSL_CA_FILE": "stranger"}, "KAFKA_SSL_CA_FILE"),
    "host": ("OTHER", None, {}, "KAFKA_SSL_CHECK_HOSTNAME"),
    "plain to a TLS listener": (
        "TLS",
        None,
        {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT", "KAFKA_SSL_CA_FILE": ""},
        "KAFKA_SECURITY_PROTOCOL",
    ),
    "TLS to a plain listener": ("SASL", None, {"KAFKA_SECURITY_PROTOCOL": "SSL"}, "KAFKA_SECURITY_PROTOCOL"),
    "token": ("BOTH", "OAUTHBEARER", {"KAFKA_SASL_PASSWORD": "not.a.token"}, "KAFKA_SASL_PASSWORD"),
    "expired token": ("BOTH", "OAUTHBEARER", {"KAFKA_SASL_PASSWORD": token(USER, -60)}, "KAFKA_SASL_PASSWORD"),
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


@pytest.mark.usefixtures("workload")
@pytest.mark.parametrize("case", WRONG_SETTINGS)
def test_wrong_setting_is_named_and_no_secret_is_shown(secured: Secured, run_command: RunCommand, case: str) -> None:
    listener, mechanism, changes, setting = WRONG_SETTINGS[case]
    strange = secured.certificate("strange")
    if "strange" in changes.values():
        changes = strange
    known = {"stranger": secured.stranger, "strange key": strange["KAFKA_SSL_KEY_FILE"]}
    changes = {name: known.get(value, value) for name, value in changes.items()}
    done = run_command("run", **(secured.environment(listener, mechanism) | changes))
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert setting in last, last
    assert secured.listeners[listener].address in last or case == "key of another"
    assert "Traceback" not in done.stderr
    assert WRONG not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.usefixtures("workload")
def test_check_names_the_wrong_setting(secured: Secured, run_command: RunCommand) -> None:
    environment = secured.environment("BOTH", "SCRAM-SHA-512")
    assert run_command("check", **environment).returncode == 0
    done = run_command("check", **(environment | {"KAFKA_SASL_PASSWORD": WRONG}))
    assert done.returncode == 3
    assert done.stdout.count("KAFKA_SASL_PASSWORD") == 3, done.stdout
    assert WRONG not in done.stdout + done.stderr


@pytest.mark.usefixtures("workload")
def test_host_name_check_can_be_disabled(secured: Secured, run_command: RunCommand) -> None:
    done = run_command("check", **secured.environment("OTHER"), KAFKA_SSL_CHECK_HOSTNAME="false")
    assert done.returncode == 0, done.stdout


async def test_what_changes_in_a_file_works_without_a_restart(
    environment: Environment, clickhouse: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Password, token and authority change while the broker restarts. Each worker reads the topic in its own group."""
    password, bearer, authority = (tmp_path / name for name in ("password", "token", "ca.pem"))
    sasl = Listener("SASL", "SASL_PLAINTEXT", users={USER: PASSWORD})

    def change(user: str, secret: str) -> Certificate:
        sasl.users[USER] = secret
        password.write_text(secret)
        bearer.write_text(token(user))
        issuer = trustme.CA()
        issuer.cert_pem.write_to_path(authority)
        return _certificate(tmp_path, issuer, LOOPBACK)

    tls = Listener("TLS", "SSL", certificate=change(USER, PASSWORD))
    with ApacheKafka(tmp_path / "own", listeners=[sasl, tls]) as broker:
        workload = Workload(environment | {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}, clickhouse)
        await create_topics(broker.bootstrap_servers, {workload.topic: 4, workload.dlq_topic: 1})
        workers = [
            start_worker(KAFKA_GROUP_ID=f"{workload.group}-{number}", KAFKA_SESSION_TIMEOUT_SECONDS="6", **settings)
            for number, settings in enumerate(_settings_with_files(sasl, tls, password, bearer, authority))
        ]
        await workload.send(50)
        _wait_for_each(workers, "metrics_worker_events_total", 50)
        await asyncio.to_thread(broker.stop)
        change("alice-again", "another-password")
        await asyncio.to_thread(broker.start)
        await workload.send(50)
        await send(workload.servers, workload.topic, [b"garbage"])
        _wait_for_each(workers, "metrics_worker_events_total", 100)
        _wait_for_each(workers, "metrics_worker_dead_letters_total", 1)
        for worker in workers:
            worker.stop()
            assert "another-password" not in worker.process.output()
    assert workload.count_view() == 2 * workload.sent


def _settings_with_files(
    sasl: Listener, tls: Listener, password: Path, bearer: Path, authority: Path
) -> Iterator[Environment]:
    """The settings of a worker with the password, of one with the token, and of one with the authority."""
    for mechanism, file in (("PLAIN", password), ("OAUTHBEARER", bearer)):
        yield {
            "KAFKA_BOOTSTRAP_SERVERS": sasl.address,
            "KAFKA_SECURITY_PROTOCOL": sasl.protocol,
            "KAFKA_SASL_MECHANISM": mechanism,
            "KAFKA_SASL_USERNAME": USER,
            "KAFKA_SASL_PASSWORD_FILE": str(file),
        }
    yield {
        "KAFKA_BOOTSTRAP_SERVERS": tls.address,
        "KAFKA_SECURITY_PROTOCOL": tls.protocol,
        "KAFKA_SSL_CA_FILE": str(authority),
    }


def _wait_for_each(workers: list[WorkerProcess], name: str, count: int) -> None:
    """Wait until this counter of each worker has reached `count`."""
    for worker in workers:
        wait_until(partial(_has_counted, worker, name, count), f"{count} in {name}", _SECONDS)


def _has_counted(worker: WorkerProcess, name: str, count: int) -> bool:
    return sum(worker.telemetry().get(name, {}).values()) >= count
