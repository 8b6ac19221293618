"""Start refuses when a right is missing, and names it; with exactly these rights the worker works."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_driver import Client
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from deploy.local.apache_kafka.listener import Listener
from deploy.local.apache_kafka.server import ApacheKafka
from deploy.local.broker import create_topics
from deploy.local.environment import environment_without_settings
from tests.integration.conftest import StartWorker
from tests.kafka.loaded import Loaded
from tests.support.local import wait_until
from tests.support.topic import send, size

USER, PASSWORD = "alice", "correct-horse-battery-staple"
_SECONDS = 60
_LIST = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.csv"

Environment = dict[str, str]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def door() -> Listener:
    return Listener("SASL", "SASL_PLAINTEXT", users={USER: PASSWORD})


@pytest.fixture(scope="module")
def guarded(door: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A broker where users may do only what ACLs allow."""
    with ApacheKafka(tmp_path_factory.mktemp("guarded"), listeners=[door], authorize=True) as broker:
        yield broker


@pytest.fixture
async def there(guarded: ApacheKafka, door: Listener, environment: Environment, clickhouse: Client) -> Loaded:
    """The test's topics on that broker, where the worker is a user without rights."""
    names = {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
    await create_topics(guarded.bootstrap_servers, names)
    loaded = Loaded(environment | {"KAFKA_BOOTSTRAP_SERVERS": guarded.bootstrap_servers}, clickhouse)
    environment |= {
        "KAFKA_BOOTSTRAP_SERVERS": door.address,
        "KAFKA_SECURITY_PROTOCOL": door.protocol,
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    return loaded


@pytest.fixture
def run(environment: Environment) -> Run:
    def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "worker", *command],
            input=stdin,
            capture_output=True,
            text=True,
            env=environment_without_settings() | environment,
            timeout=_SECONDS,
            check=False,
        )

    return run


def allow(broker: ApacheKafka, *rights: tuple[ResourceType, str, AclOperation]) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    acls = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in rights
    ]
    for done in admin.create_acls(acls).values():
        done.result(_SECONDS)


def take_away(broker: ApacheKafka) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    every = AclBindingFilter(
        ResourceType.ANY,
        None,  # type: ignore[arg-type]  # any name, says its documentation
        ResourcePatternType.ANY,
        f"User:{USER}",
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for done in admin.delete_acls([every]).values():
        done.result(_SECONDS)


def rights(loaded: Loaded, who: str = "run") -> dict[str, tuple[ResourceType, str, AclOperation]]:
    """All that a command needs by the published list, by the variable that names it and the operation."""
    names = {"KAFKA_TOPIC": loaded.topic, "KAFKA_DLQ_TOPIC": loaded.dlq_topic, "KAFKA_GROUP_ID": loaded.group}
    with _LIST.open(encoding="utf-8", newline="") as file:
        return {
            f"{row['named by']}{row['suffix']} {row['operation']}": (
                ResourceType[row["resource"]], names[row["named by"]] + row["suffix"], AclOperation[row["operation"]]
            )
            for row in csv.DictReader(file)
            if row["who"] == who
        }  # fmt: skip


async def test_exactly_these_rights_are_enough(
    guarded: ApacheKafka, there: Loaded, start_worker: StartWorker, run: Run
) -> None:
    allow(guarded, *rights(there).values())
    assert run("check").returncode == 0
    worker = start_worker()
    await there.more(50)
    await send(there.servers, there.topic, [b"garbage"])
    there.wait_for_all()
    worker.stop()
    assert await there.committed() == 51
    assert await size(there.servers, there.dlq_topic) == 1


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen but not to be used"])
@pytest.mark.parametrize(
    ("setting", "right"),
    [("KAFKA_TOPIC", "READ on topic"), ("KAFKA_DLQ_TOPIC", "WRITE on topic"), ("KAFKA_GROUP_ID", "READ on group")],
)
def test_a_missing_right_is_named(
    guarded: ApacheKafka, there: Loaded, environment: Environment, run: Run, setting: str, right: str, seen: bool
) -> None:
    needed = rights(there)
    kind, name, _ = needed.pop(f"{setting} {right.split()[0]}")
    allow(guarded, *needed.values(), *([(kind, name, AclOperation.DESCRIBE)] if seen else []))
    done = run("run")
    wanted = f"user {USER} do what the worker must: it lacks {right} {environment[setting]} ({setting})"
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith(wanted)
    checked = run("check")
    assert checked.returncode == 3
    assert [line for line in checked.stdout.splitlines() if re.match("FAIL", line)] == [
        line for line in checked.stdout.splitlines() if line.endswith(wanted)
    ]
    assert checked.stdout.count("FAIL") == 1


def test_all_that_is_missing_is_named_at_once(there: Loaded, run: Run) -> None:
    last = run("run").stderr.strip().splitlines()[-1]
    assert all(named.split()[0] in last for named in rights(there))


async def test_the_rights_of_the_other_commands_are_enough(
    guarded: ApacheKafka, there: Loaded, start_worker: StartWorker, run: Run
) -> None:
    allow(guarded, *rights(there, "produce").values())
    assert run("produce", "-", stdin="not an event").returncode == 0
    allow(guarded, *rights(there).values())
    worker = start_worker()
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) == 1, "a dead letter")
    worker.stop()
    allow(guarded, *rights(there, "dlq").values())
    stats = run("dlq", "stats", "--json")
    assert json.loads(stats.stdout)["total"] == 1, stats.stderr
    allow(guarded, *rights(there, "replay").values())
    replayed = run("replay", "--yes", "--json")
    assert replayed.returncode == 1, replayed.stderr  # it fails again, and a new letter stands in its place
    assert await size(there.servers, there.dlq_topic) == 2


async def test_the_rights_of_the_audit_are_enough_and_each_is_needed(
    guarded: ApacheKafka, there: Loaded, start_worker: StartWorker, run: Run
) -> None:
    allow(guarded, *rights(there).values())
    worker = start_worker()
    await there.more(50)
    await send(there.servers, there.topic, [b"garbage"])
    there.wait_for_all()
    worker.stop()
    needed = list(rights(there, "audit").values())
    for missing in needed:
        take_away(guarded)
        allow(guarded, *(right for right in needed if right is not missing))
        assert run("audit").returncode == 3, missing
    take_away(guarded)
    allow(guarded, *needed)
    audited = run("audit", "--json")
    assert audited.returncode == 0, audited.stderr
    sums = json.loads(audited.stdout)["sums"]
    assert (sums["records"], sums["dead_lettered"], sums["missing"]) == (51, 1, 0)
    assert await there.committed() == 51
