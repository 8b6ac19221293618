"""The start names each missing ACL; with exactly the documented ACLs every command works."""

import csv
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
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
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import StartWorker
from tests.kafka.workload import Workload, count_dead_letters
from tests.support.console import parse_page, texts
from tests.support.local import wait_until
from tests.support.topic import configure, headers_of, limit_batches, read, send, size

USER, PASSWORD = "alice", "correct-horse-battery-staple"
_SECONDS = 60
_LIST = Path(__file__).parents[2] / "deploy" / "kafka" / "acls.csv"

Environment = dict[str, str]
RunCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener("SASL", "SASL_PLAINTEXT", users={USER: PASSWORD})


@pytest.fixture(scope="module")
def broker_with_acls(listener: Listener, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApacheKafka]:
    """A broker with an authorizer."""
    with ApacheKafka(tmp_path_factory.mktemp("broker"), listeners=[listener], authorize=True) as broker:
        yield broker


@pytest.fixture
async def workload(
    broker_with_acls: ApacheKafka, listener: Listener, environment: Environment, clickhouse: Client
) -> Workload:
    """Topics on that broker, where the worker is a user without ACLs."""
    names = {environment["KAFKA_TOPIC"]: 4, environment["KAFKA_DLQ_TOPIC"]: 1}
    await create_topics(broker_with_acls.bootstrap_servers, names)
    workload = Workload(environment | {"KAFKA_BOOTSTRAP_SERVERS": broker_with_acls.bootstrap_servers}, clickhouse)
    environment |= {
        "KAFKA_BOOTSTRAP_SERVERS": listener.address,
        "KAFKA_SECURITY_PROTOCOL": listener.protocol,
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
    }
    return workload


def allow(broker: ApacheKafka, *acls: tuple[ResourceType, str, AclOperation]) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{USER}", "*", operation, AclPermissionType.ALLOW)
        for kind, name, operation in acls
    ]
    for done in admin.create_acls(bindings).values():
        done.result(_SECONDS)


def delete_acls(broker: ApacheKafka, name: str | None = None) -> None:
    """Delete the ACLs on the topics and groups with this name, or all."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    every = AclBindingFilter(
        ResourceType.ANY,
        name,  # type: ignore[arg-type]  # None is any name, says its documentation
        ResourcePatternType.ANY,
        f"User:{USER}",
        None,  # type: ignore[arg-type]  # any host
        AclOperation.ANY,
        AclPermissionType.ANY,
    )
    for done in admin.delete_acls([every]).values():
        done.result(_SECONDS)


def required_acls(workload: Workload, who: str = "run") -> dict[str, tuple[ResourceType, str, AclOperation]]:
    """The documented ACLs of a command, by variable and operation."""
    names = {"KAFKA_TOPIC": workload.topic, "KAFKA_DLQ_TOPIC": workload.dlq_topic, "KAFKA_GROUP_ID": workload.group}
    with _LIST.open(encoding="utf-8", newline="") as file:
        return {
            f"{row['named by']} {row['operation']}": (
                ResourceType[row["resource"]], names[row["named by"]], AclOperation[row["operation"]]
            )
            for row in csv.DictReader(file)
            if row["who"] == who
        }  # fmt: skip


async def test_documented_acls_of_run_are_enough(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker, run_command: RunCommand
) -> None:
    allow(broker_with_acls, *required_acls(workload).values())
    assert run_command("check").returncode == 0
    worker = start_worker()
    await workload.send(50)
    await send(workload.servers, workload.topic, [b"garbage"])
    workload.wait_until_written()
    worker.stop()
    assert await workload.count_committed() == 51
    assert await size(workload.servers, workload.dlq_topic) == 1


@pytest.mark.parametrize("described", [False, True], ids=["invisible", "only DESCRIBE"])
@pytest.mark.parametrize(
    ("setting", "acl"),
    [("KAFKA_TOPIC", "READ on topic"), ("KAFKA_DLQ_TOPIC", "WRITE on topic"), ("KAFKA_GROUP_ID", "READ on group")],
)
def test_missing_acl_is_named_by_run_and_check(
    broker_with_acls: ApacheKafka,
    workload: Workload,
    environment: Environment,
    run_command: RunCommand,
    setting: str,
    acl: str,
    described: bool,
) -> None:
    acls = required_acls(workload)
    kind, name, _ = acls.pop(f"{setting} {acl.split()[0]}")
    allow(broker_with_acls, *acls.values(), *([(kind, name, AclOperation.DESCRIBE)] if described else []))
    done = run_command("run")
    message = f"Kafka user {USER} lacks ACLs: {acl} {environment[setting]} ({setting})"
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stderr.strip().splitlines()[-1])["error"].endswith(message)
    checked = run_command("check")
    assert checked.returncode == 3
    assert [line for line in checked.stdout.splitlines() if re.match("FAIL", line)] == [
        line for line in checked.stdout.splitlines() if line.endswith(message)
    ]
    assert checked.stdout.count("FAIL") == 1


async def test_worker_resumes_when_a_withdrawn_acl_is_given_back(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker
) -> None:
    acls = required_acls(workload)
    allow(broker_with_acls, *acls.values())
    worker = start_worker()
    await send(workload.servers, workload.topic, [b"garbage"] * 5)
    wait_until(lambda: count_dead_letters(worker) == 5, "five dead letters")
    delete_acls(broker_with_acls, workload.dlq_topic)
    await send(workload.servers, workload.topic, [b"garbage"] * 20)
    wait_until(lambda: "TopicAuthorizationFailed" in worker.readiness().get("dead_letters", ""), "the worker holds")
    assert await workload.count_committed() == 5
    allow(broker_with_acls, *acls.values())
    await send(workload.servers, workload.topic, [b"garbage"] * 5)
    wait_until(lambda: count_dead_letters(worker) == 30 and not worker.readiness(), "the worker has resumed")
    worker.stop()
    assert await workload.count_committed() == 30
    assert await size(workload.servers, workload.dlq_topic) == 30


async def test_limit_of_the_dead_letter_topic_is_learned_where_it_may_not_be_described(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker, run_command: RunCommand
) -> None:
    acls = [*required_acls(workload).values(), *required_acls(workload, "produce").values()]
    allow(broker_with_acls, *(acl for acl in acls if acl[2] is not AclOperation.DESCRIBE_CONFIGS))
    for topic in (workload.topic, workload.dlq_topic):
        await limit_batches(workload.servers, topic, 50_000 if topic == workload.topic else 20_000)
    lines = [str(number) + "x" * (1_000, 30_000, 60_000)[number % 3] for number in range(60)]
    produced = run_command("produce", "-", stdin="\n".join(lines))
    assert produced.returncode == 1, produced.stderr
    assert "40 records acknowledged" in produced.stderr
    assert await size(workload.servers, workload.topic) == 40
    worker = start_worker()
    wait_until(lambda: count_dead_letters(worker) == 40, "all dead letters")
    worker.stop()
    assert await workload.count_committed() == 40
    letters = await read(workload.servers, workload.dlq_topic, 40)
    assert Counter(headers_of(letter)["dlq.error.class"] for letter in letters) == {
        "invalid_event": 20,
        "too_large": 20,
    }
    assert await size(workload.servers, workload.dlq_topic) == 40


def test_all_missing_acls_are_named(workload: Workload, run_command: RunCommand) -> None:
    last = run_command("run").stderr.strip().splitlines()[-1]
    assert all(named.split()[0] in last for named in required_acls(workload))


async def test_documented_acls_of_produce_dlq_and_replay_are_enough(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker, run_command: RunCommand
) -> None:
    allow(broker_with_acls, *required_acls(workload, "produce").values())
    assert run_command("produce", "-", stdin="not an event").returncode == 0
    allow(broker_with_acls, *required_acls(workload).values())
    worker = start_worker()
    wait_until(lambda: sum(worker.telemetry()["metrics_worker_dead_letters_total"].values()) == 1, "a dead letter")
    worker.stop()
    allow(broker_with_acls, *required_acls(workload, "dlq").values())
    stats = run_command("dlq", "stats", "--json")
    assert json.loads(stats.stdout)["total"] == 1, stats.stderr
    delete_acls(broker_with_acls)
    allow(broker_with_acls, *required_acls(workload, "discard").values())
    for action in (["discard", "--reason", "test"], ["restore"]):
        settled = run_command("dlq", *action, "--yes", "--json")
        assert json.loads(settled.stdout)["dead_letters"] == {"invalid_event": 1}, settled.stderr
    delete_acls(broker_with_acls)
    allow(broker_with_acls, *required_acls(workload, "replay").values())
    replayed = run_command("replay", "--yes", "--refused", "--json")
    assert replayed.returncode == 1, replayed.stderr  # it fails again, and is replaced by a new dead letter
    assert json.loads(run_command("dlq", "stats", "--json").stdout)["total"] == 1
    assert len(run_command("dlq", "list", "--settled", "--json").stdout.splitlines()) == 2


async def test_documented_acls_of_watch_are_enough_and_each_is_needed(
    broker_with_acls: ApacheKafka, workload: Workload, environment: Environment, tmp_path: Path
) -> None:
    await send(workload.servers, workload.dlq_topic, [b"foreign"])
    acls = required_acls(workload, "watch")
    allow(broker_with_acls, acls.pop("KAFKA_DLQ_TOPIC READ"))
    with WorkerProcess(tmp_path, environment, "watch", ("dlq", "watch")) as watch:
        wait_until(lambda: not watch.readiness(), "it reads the topic", _SECONDS)
        assert sum(watch.telemetry()["metrics_worker_dead_letters_open"].values()) == 1
        assert "metrics_worker_retention_seconds" not in watch.telemetry()
        assert "grant DESCRIBE_CONFIGS" in watch.process.output()
    allow(broker_with_acls, *acls.values())
    with WorkerProcess(tmp_path, environment, "watch", ("dlq", "watch")) as watch:
        wait_until(lambda: not watch.readiness(), "it reads the topic", _SECONDS)
        assert watch.telemetry()["metrics_worker_retention_seconds"]
        delete_acls(broker_with_acls, workload.dlq_topic)
        wait_until(
            lambda: workload.dlq_topic in watch.readiness().get("kafka", ""), "it says what is missing", _SECONDS
        )


async def test_documented_acls_of_console_are_enough_and_each_is_needed(
    broker_with_acls: ApacheKafka, workload: Workload, environment: Environment, tmp_path: Path
) -> None:
    await send(workload.servers, workload.dlq_topic, [b"foreign"])
    acls = required_acls(workload, "console")
    read_letters = acls.pop("KAFKA_DLQ_TOPIC READ")

    def show(number: int, *given: tuple[ResourceType, str, AclOperation]) -> tuple[str, str]:
        """What the first page says of dead letters and lag to a user with these rights, and the log."""
        delete_acls(broker_with_acls)
        allow(broker_with_acls, *given)
        settings = environment | {"CONSOLE_PORT": "0"}
        with WorkerProcess(tmp_path, settings, f"console-{number}", ("console",)) as console:

            def read() -> str:
                return texts(parse_page(httpx.get(f"http://127.0.0.1:{console.http_port}/", timeout=20).text))

            wait_until(lambda: "has not been" not in read(), "both are read, or refused", _SECONDS)
            return read(), console.process.output()

    page, log = show(0, read_letters)
    assert "Records that are no dead letters 1" in page
    assert "Partition Records not committed" not in page
    assert "grant DESCRIBE_CONFIGS" in log
    for number, missing in enumerate(("KAFKA_TOPIC DESCRIBE", "KAFKA_GROUP_ID DESCRIBE"), 1):
        page, _ = show(number, read_letters, *(acl for name, acl in acls.items() if name != missing))
        assert "Records that are no dead letters 1" in page
        assert "Partition Records not committed" not in page, missing
    page, log = show(3, read_letters, *acls.values())
    assert "Partition Records not committed 0 nothing committed yet" in page
    assert "grant" not in log
    page, _ = show(4, *acls.values())
    assert "The console waits" in page
    assert workload.dlq_topic in page


def allow_after_showing_that_each_is_needed(
    broker: ApacheKafka, workload: Workload, run_command: RunCommand, command: str
) -> None:
    """Allow only the documented ACLs of a command, which ends with exit code 3 while any of them is missing."""
    acls = list(required_acls(workload, command).values())
    for missing in acls:
        delete_acls(broker)
        allow(broker, *(acl for acl in acls if acl is not missing))
        assert run_command(command).returncode == 3, missing
    delete_acls(broker)
    allow(broker, *acls)


async def test_documented_acls_of_audit_are_enough_and_each_is_needed(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker, run_command: RunCommand
) -> None:
    allow(broker_with_acls, *required_acls(workload).values())
    worker = start_worker()
    await workload.send(50)
    await send(workload.servers, workload.topic, [b"garbage"])
    workload.wait_until_written()
    worker.stop()
    allow_after_showing_that_each_is_needed(broker_with_acls, workload, run_command, "audit")
    audited = run_command("audit", "--json")
    assert audited.returncode == 0, audited.stderr
    sums = json.loads(audited.stdout)["sums"]
    assert (sums["records"], sums["dead_lettered"], sums["missing"]) == (51, 1, 0)
    assert await workload.count_committed() == 51


async def test_documented_acls_of_plan_are_enough_and_each_is_needed(
    broker_with_acls: ApacheKafka, workload: Workload, run_command: RunCommand
) -> None:
    allow(broker_with_acls, *required_acls(workload, "produce").values())
    await workload.send(50)
    allow_after_showing_that_each_is_needed(broker_with_acls, workload, run_command, "plan")
    planned = run_command("plan")
    assert planned.returncode == 0, planned.stderr
    inputs = json.loads(planned.stdout)["inputs"]
    assert inputs["lag"]["value"] == 50
    delete_acls(broker_with_acls, workload.group)
    assert run_command("plan", "--lag", "0").returncode == 0, "without the group's offsets no right on it is needed"
    assert inputs["events_per_second"]["value"] > 0


async def test_worker_runs_and_warns_without_the_right_to_see_the_retention(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker
) -> None:
    acls = required_acls(workload)
    del acls["KAFKA_TOPIC DESCRIBE_CONFIGS"]
    allow(broker_with_acls, *acls.values())
    worker = start_worker()
    await workload.send(50)
    workload.wait_until_written()
    wait_until(lambda: "grant DESCRIBE_CONFIGS" in worker.process.output(), "the warning", 30)
    assert "metrics_worker_retention_seconds" not in worker.telemetry()


async def test_worker_runs_with_a_compacted_dead_letter_topic_that_it_may_not_describe(
    broker_with_acls: ApacheKafka, workload: Workload, start_worker: StartWorker, run_command: RunCommand
) -> None:
    acls = required_acls(workload)
    del acls["KAFKA_DLQ_TOPIC DESCRIBE_CONFIGS"]
    allow(broker_with_acls, *acls.values())
    await configure(workload.servers, workload.dlq_topic, {"cleanup.policy": "compact"})
    assert run_command("check").returncode == 0
    start_worker()
    await workload.send(50)
    workload.wait_until_written()
