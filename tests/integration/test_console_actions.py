"""Actions of the console as a process: from the form to the row in ClickHouse, and to the settlement in the topic."""

from uuid import uuid4

import pytest
from clickhouse_driver import Client

from deploy.local.process import LOOPBACK, free_port
from deploy.local.worker_process import WorkerProcess
from tests.integration.conftest import Environment, StartService
from tests.support.commands import Commands, write_dead_letters
from tests.support.console_user import ConsoleUser
from tests.support.events import event
from tests.support.events import read as decoded
from tests.support.local import wait_until
from worker.core.errors import ErrorClass
from worker.core.model import FailedMetric, Failure

SECONDS = 60.0
OUTAGE = Failure(ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "gone", 210)
REFUSED = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", "it is violated", 469)
ROWS = "SELECT metric_type, metric_value FROM execution_metrics_deduplicated ORDER BY metric_type"


@pytest.fixture
def environment(environment: Environment) -> Environment:
    """With actions for everybody."""
    environment["CONSOLE_ALLOW_ANONYMOUS_ACTIONS"] = "true"
    return environment


def open_user(console: WorkerProcess) -> ConsoleUser:
    """A user of a console that has scanned the topic."""
    user = ConsoleUser(f"http://{LOOPBACK}:{console.http_port}")
    wait_until(lambda: "Open dead letters" in user.read("/"), "the topic is scanned", SECONDS, 0.1)
    return user


def failed(name: str, failure: Failure = OUTAGE, value: float = 1) -> FailedMetric:
    """A metric of an execution of its own."""
    return FailedMetric(decoded(event(execution_id=str(uuid4()), metrics={})), name, value, failure, 1)


@pytest.mark.usefixtures("not_negative")
async def test_each_action_from_the_form_to_the_row_and_the_journal(
    environment: Environment, commands: Commands, start_service: StartService, clickhouse: Client
) -> None:
    await write_dead_letters(
        environment, failed("a"), failed("b"), failed("c", REFUSED, -3), failed("d", value=-1), failed("e", REFUSED, -5)
    )
    user = open_user(start_service("console"))
    cause = commands.json("dlq", "causes", "--error-class", "store_unavailable")[0]["causes"][0]["cause"]
    page = user.act(f"/actions/new?do=replay&cause={cause}", {"reason": "it is back"})
    assert "store_unavailable 3 2 1" in page
    assert "0:3 a new dead letter VIOLATED_CONSTRAINT" in page
    assert clickhouse.execute(ROWS) == [("a", 1.0), ("b", 1.0)]

    edit = {"expression": ".metrics.c |= -.", "reason": "the sign"}
    action = user.check("/actions/new?do=edit&letter=0:2", edit)
    assert '"c": -3' in user.read(action)
    assert '"c": 3' in user.read(action)
    assert "1 1 0" in user.read(action)
    wrong = user.read(user.check("/actions/new?do=edit&letter=0:2", edit | {"expression": ".metrics.c -= 1"}))
    assert "would be refused: violates the constraint" in wrong
    user.start(action)
    user.wait_for(action, "done")
    assert clickhouse.execute(ROWS) == [("a", 1.0), ("b", 1.0), ("c", 3.0)]

    user.act("/actions/new?do=discard&letter=0:4", {"reason": "wrong unit"})
    assert commands.count_open() == 1
    user.act("/actions/new?do=restore&letter=0:4", {"settled_by": "discarded"})
    assert commands.count_open() == 2
    wait_until(lambda: "open 2" in user.read("/"), "the pages follow", SECONDS)
    operations = commands.json("dlq", "history")
    assert [(each["action"], each["by"], each["why"]) for each in operations] == [
        ("replayed", "anonymous", "it is back"),
        ("edited", "anonymous", "the sign"),
        ("discarded", "anonymous", "wrong unit"),
        ("reopened", "anonymous", None),
    ]
    assert commands.json("audit", "--to-end")


async def test_killed_console_loses_nothing_and_the_next_replay_doubles_nothing(
    environment: Environment, commands: Commands, start_service: StartService, clickhouse: Client
) -> None:
    await write_dead_letters(environment, *[failed("a") for _ in range(400)])
    console = start_service("console")
    user = open_user(console)
    (cause,) = {each["cause"] for each in commands.json("dlq", "causes")[0]["causes"]}
    action = user.check(f"/actions/new?do=replay&cause={cause}", {"rate": "50"})
    user.start(action)
    count = "SELECT count() FROM execution_metrics"
    wait_until(lambda: clickhouse.execute(count)[0][0] >= 100, "some are written", SECONDS)
    console.process.kill()
    assert 0 < commands.count_open() < 400

    user = open_user(start_service("console"))
    assert "not ended" in user.read("/history")
    user.act(f"/actions/new?do=replay&cause={cause}")
    assert commands.count_open() == 0
    counts = "SELECT count(), uniqExact(execution_id) FROM execution_metrics_deduplicated"
    assert clickhouse.execute(counts) == [(400, 400)]


@pytest.mark.any_broker
async def test_two_users_of_one_cause_and_a_stop_and_the_end_of_the_process(
    environment: Environment, commands: Commands, start_service: StartService, clickhouse: Client
) -> None:
    await write_dead_letters(environment, *[failed("a") for _ in range(200)])
    console = start_service("console")
    users = [open_user(console) for _ in range(2)]
    (cause,) = {each["cause"] for each in commands.json("dlq", "causes")[0]["causes"]}
    actions = [user.check(f"/actions/new?do=replay&cause={cause}", {"rate": "20"}) for user in users]
    for user, action in zip(users, actions, strict=True):
        user.start(action)
    assert [users[0].state(action) for action in actions] == ["running", "waiting"]
    users[1].stop(actions[0])
    users[1].wait_for(actions[0], "stopped")
    users[1].wait_for(actions[1], "running")
    wait_until(lambda: " 0 of " not in users[1].read("/actions").partition("Replay")[2][:200], "it goes on", SECONDS)
    console.stop()
    ended = [each for each in commands.json("dlq", "history") if each["action"] == "replayed"]
    assert [each["outcome"] is not None for each in ended] == [True, True]
    written = sum(each["outcome"]["written"] for each in ended)
    assert commands.count_open() == 200 - written
    assert clickhouse.execute("SELECT count() FROM execution_metrics") == [(written,)]


@pytest.mark.any_broker
async def test_clickhouse_away_is_said_and_the_console_lives_on(
    environment: Environment, commands: Commands, start_service: StartService
) -> None:
    await write_dead_letters(environment, failed("a"))
    environment |= {"CLICKHOUSE_PORT": str(free_port())}
    user = open_user(start_service("console"))
    action = user.check("/actions/new?do=replay&letter=0:0")
    user.start(action)
    user.wait_for(action, "failed")
    assert "ClickHouse accepts no inserts" in user.read(action)
    assert "Done." in user.act("/actions/new?do=discard&letter=0:0", {"reason": "r"})
    assert commands.count_open() == 0


@pytest.mark.any_broker
async def test_console_needs_clickhouse_for_replays_only(environment: Environment, start_service: StartService) -> None:
    await write_dead_letters(environment, failed("a"))
    del environment["CLICKHOUSE_HOST"]
    user = open_user(start_service("console"))
    assert "CLICKHOUSE_HOST is not set" in user.read("/actions/new?do=replay&letter=0:0")
    assert "Done." in user.act("/actions/new?do=discard&letter=0:0", {"reason": "r"})


@pytest.mark.any_broker
async def test_without_the_option_nobody_may_act(environment: Environment, start_service: StartService) -> None:
    await write_dead_letters(environment, failed("a"))
    del environment["CONSOLE_ALLOW_ANONYMOUS_ACTIONS"]
    user = open_user(start_service("console"))
    assert "This needs the role operator" in user.read("/actions/new?do=discard&letter=0:0")
    assert "Replay…" not in user.read("/letters/0:0")
    fields = {"do": "discard", "letter": "0:0", "reason": "r", "token": "x"}
    assert user.post("/actions", fields).status_code == 403
