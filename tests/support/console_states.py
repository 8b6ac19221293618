"""Topics of every kind, as the console is to show them."""

from time import time

from starlette.types import ASGIApp, Receive, Scope, Send

from tests.support.console import AWAY, ConsoleHarness, progress_of
from tests.support.events import event, read, record
from tests.support.fakes import MemoryConstraints, MemoryStore, MemoryTopic
from worker.console.group import GroupProgress
from worker.console.identity import FixedIdentity, Identity, Role
from worker.console.users.admission import Admission, Refused, outside_page
from worker.console.users.roles import RoleRules, User
from worker.console.workers import WorkerHealth, Workers
from worker.core.errors import ErrorClass
from worker.core.model import Failed, FailedEvent, FailedMetric, Failure
from worker.dead_letters.dead_letter import EncodedDeadLetter
from worker.dead_letters.record_format import encode_dead_letter, encode_pointer
from worker.dead_letters.settlement import Action, OffsetRun, Settlement, identify

_CONSTRAINT = (
    "DB::Exception: Constraint `no_negative_duration` for table metrics.execution_metrics (0b2d3c4e-5f60-4718-9a2b-"
    "3c4d5e6f7081) is violated at row 17. Expression: (metric_value >= 0). Column values: metric_value = -3812.5"
)
_NEGATIVE = Failure(ErrorClass.ROW_REFUSED, "VIOLATED_CONSTRAINT", _CONSTRAINT, 469)
_OUTAGE = Failure(
    ErrorClass.STORE_UNAVAILABLE, "NETWORK_ERROR", "Code: 210. Connection refused (clickhouse-1.metrics:9000)", 210
)
_NAN = Failure(ErrorClass.INVALID_METRIC, "NotFinite", "NaN does not fit a Float64")
_NO_JSON = Failure(ErrorClass.INVALID_EVENT, "InvalidJSON", "the value is not JSON: unexpected end of data at 117")
_NO_UTF8 = Failure(ErrorClass.INVALID_EVENT, "InvalidUTF8", "the value is not UTF-8: byte 0xff at 0")
_AGENTS = ("triage", "code-review", "support", "translate", "summarise-long-documents-for-the-legal-team", "planner")
_LONG = "</p><script>alert(1)</script>\x1b[31m\u202e" + "a-very-long-name-without-a-space-" * 12
_HOLD = "no INSERT has succeeded for 4 min: Code: 210. Connection refused (clickhouse-1.metrics.svc.cluster.local:9000)"
_GONE = "no answer: ConnectionRefusedError: [Errno 111] Connect call failed ('10.42.7.201', 8080)"
_WORKERS = Workers(
    [
        WorkerHealth("10.42.3.17:8080"),
        WorkerHealth("10.42.3.18:8080", notice="PERSISTENCE_ENABLED=false: nothing is written"),
        WorkerHealth("10.42.5.4:8080", {"store": _HOLD}),
        WorkerHealth("[fd12:3456:789a:1:c0de:fade:9d4e:d2aa]:8080", {"group": "it is not a member of its group"}),
        WorkerHealth("10.42.7.201:8080", problem=_GONE),
    ],
    None,
)
_DAY, _HOUR, _MINUTE = 86_400_000, 3_600_000, 60_000


def _metric(name: str, value: float, failure: Failure, number: int) -> FailedMetric:
    one = event(execution_id=f"0b2d3c4e-5f60-4718-9a2b-{number:012}", agent_name=_AGENTS[number % len(_AGENTS)])
    headers = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("empty", None))
    source = record(None, partition=number % 12, offset=81_000 + number, key=b"triage", headers=headers)
    return FailedMetric(read(one)._replace(record=source), name, value, failure, 3)


def _keep(topic: MemoryTopic, failed: Failed, ago: int) -> None:
    is_pointer = failed.failure.error_class is ErrorClass.TOO_LARGE
    topic.keep((encode_pointer if is_pointer else encode_dead_letter)(failed, topic.HEAD, round(time() * 1000) - ago))


async def _settle(topic: MemoryTopic, offset: int, ago: int, action: Action, **fields: object) -> None:
    entry = Settlement(
        action, f"{action}-{offset}", "ana.lopez@metrics-replay-28913-x7k2p", round(time() * 1000) - ago,
        "the clock of the build agents was set back: ticket OPS-1182",
        'metrics-worker dlq discard --cause 4f1c09aa --reason "the clock of the build agents was set back"',
    )._replace(**fields)  # type: ignore[arg-type]  # fmt: skip
    run = OffsetRun(offset, offset, identify(topic.records[0][offset]))
    await topic.append(0, entry._replace(runs=(run,)))
    await topic.append(0, entry._replace(outcome={action.value: 1}))


async def busy() -> ConsoleHarness:
    """Dead letters of every class, some of them settled.

    Offsets: 0 discarded, 1 replayed, 2 a pointer, 3 invalid UTF-8, 4 foreign, 5 a metric, and more.
    """
    topic = MemoryTopic()
    _keep(topic, _metric("execution_time_ms", -3812.5, _NEGATIVE, 0), 6 * _DAY)
    _keep(topic, _metric("cost_usd", 0.25, _OUTAGE, 1), 6 * _DAY)
    too_large = Failure(
        ErrorClass.TOO_LARGE, "MessageSizeTooLarge", f"1,203,114 bytes do not fit; before that: {_NAN[2]}"
    )
    _keep(topic, _metric("notes", 1, too_large, 2), 5 * _DAY)
    _keep(topic, FailedEvent(record(b"\xff\xfe{" + bytes(range(90)), key=b"k"), _NO_UTF8), 3 * _DAY)
    topic.keep(EncodedDeadLetter(None, b"hello, is this the right topic?", (("x", b"1"),), round(time() * 1000)))
    _keep(topic, _metric("execution_time_ms", -3812.5, _NEGATIVE, 5), 2 * _DAY)
    for number in range(123):
        _keep(topic, _metric("execution_time_ms", -number, _NEGATIVE, number), 2 * _DAY - number * _MINUTE)
    for number in range(1_234):
        _keep(topic, _metric(("cost_usd", "input_tokens")[number % 2], 0.25, _OUTAGE, number), 3 * _HOUR - number)
    for number in range(7):
        _keep(topic, _metric("quality_score", float("nan"), _NAN, number), 12 * _MINUTE - number)
    _keep(topic, FailedEvent(record(b'{"execution_id": "0b2d3c4e-5f60", "agent_name": "tri'), _NO_JSON), 4 * _MINUTE)
    await _settle(topic, 0, _DAY, Action.DISCARDED)
    await _settle(topic, 1, 2 * _HOUR, Action.REPLAYED, why=None, by="root@metrics-replay-28914-9qqfz")
    interrupted = Settlement(
        Action.EDITED, "0" * 32, "li.wei@laptop", round(time() * 1000) - 5 * _MINUTE, "milliseconds, not seconds",
        "console: edit 0:6 0:7 0:8 --limit 10000 --rate 5000 --max-replays 5",
        edit=".metrics.execution_time_ms *= 1000",
    )  # fmt: skip
    await topic.append(0, interrupted)
    harness = ConsoleHarness(topic, workers=_WORKERS)
    lag = {0: 0, 1: 12, 2: 1_843_310, 3: None, **dict.fromkeys(range(4, 16), 7)}
    harness.group = progress_of(lag, read_rate=1_204.3, sent_rate=8.25)
    await harness.check()
    harness.addresses["NEGATIVE"] = await find_cause(harness, "execution_time_ms")
    return harness


async def acting() -> ConsoleHarness:
    """An editor, and actions in every state; `addresses` has them by name."""
    harness = await busy()
    harness.identity = Identity("ana.lopez", Role.EDITOR)
    harness.store = MemoryStore(lambda row: row.event.agent_name == "planner", names_constraint=True)
    harness.constraints = MemoryConstraints({"metric_value >= 0": lambda row: float(row.value) >= 0})
    outage, negative = [await find_cause(harness, metric) for metric in ("cost_usd", "execution_time_ms")]
    some = [f"0:{offset}" for offset in range(140, 149)]
    replay = {"do": "replay", "reason": "the disks of ClickHouse are larger now: ticket OPS-1190"}
    edit = {"do": "edit", "cause": negative, "reason": "milliseconds, not seconds"}
    expression = '.metrics.execution_time_ms |= (if . < 0 then -. else . end) | .agent_name = "build-agent"'
    forms: dict[str, dict[str, str | list[str]]] = {
        "ready": {**replay, "cause": outage},
        "edit": {**edit, "expression": expression},
        "refused": {**edit, "expression": ".metrics.execution_time_ms -= 5"},
        "mistake": {**edit, "expression": ".metrics.execution_time_ms |"},
        "done": {**replay, "letter": some},
        "discarded": {"do": "discard", "letter": "0:150", "reason": "a test of the build agents"},
        "running": {**replay, "cause": outage, "rate": "100"},
        "waiting": {"do": "discard", "cause": negative, "reason": "the clock of the build agents was set back"},
    }
    for name, fields in forms.items():
        harness.addresses[name] = (await harness.post("/actions", fields)).headers["location"]
    for name in ("done", "discarded", "running", "waiting"):
        await harness.post(f"{harness.addresses[name]}/start", {})
    harness.addresses |= {"OUTAGE": outage, "NEGATIVE": negative}
    return harness


async def find_cause(harness: ConsoleHarness, metric: str) -> str:
    """The ID of the cause that the overview has for a metric; for `cost_usd` that of the outage."""
    page = (await harness.request("/")).text
    text = "Connection refused" if metric == "cost_usd" else f", metric</span> {metric}"
    return page[: page.index(text)].rpartition("/causes/")[2][:8]


async def hostile() -> ConsoleHarness:
    """Long texts, markup and control characters in every field."""
    topic = MemoryTopic()
    source = record(None, key=_LONG.encode(), headers=((_LONG, _LONG.encode() + b"\xff"),))
    item = read(event(agent_name=_LONG[:250], user_id=_LONG[:250]))._replace(record=source)
    failure = Failure(ErrorClass.ROW_REFUSED, _LONG, _LONG, 469)
    _keep(topic, FailedMetric(item, _LONG[:250], 1, failure, 1), _DAY)
    _keep(topic, FailedMetric(item, _LONG[:250], 1, failure, 1), _DAY)
    await _settle(topic, 1, _HOUR, Action.DISCARDED, by=_LONG, why=_LONG, command=_LONG)
    worker = WorkerHealth("10.42.3.17:8080", {_LONG[:300]: _LONG}, notice=_LONG)
    harness = ConsoleHarness(topic, workers=Workers([worker, WorkerHealth("10.42.3.18:8080", problem=_LONG)], None))
    harness.group = GroupProgress(problem=f"Kafka refuses the group: {_LONG}")
    await harness.check()
    return harness


async def empty() -> ConsoleHarness:
    """Nothing to do."""
    harness = ConsoleHarness(MemoryTopic())
    await harness.check()
    return harness


async def waiting() -> ConsoleHarness:
    """Before the first scan."""
    harness = ConsoleHarness(MemoryTopic())
    harness.is_away = True
    await harness.check()
    return harness


async def away() -> ConsoleHarness:
    """Kafka was there, and is away."""
    harness = await busy()
    harness.is_away, harness.silent_since = True, time() - 75
    harness.group = GroupProgress(problem=AWAY)
    await harness.check()
    return harness


async def masked() -> ConsoleHarness:
    """An operator who has signed in, and sees no ids of users and no agents."""

    def identify(app: ASGIApp) -> ASGIApp:
        known = FixedIdentity(app, Identity("ana.lopez", Role.OPERATOR))

        async def sign_in(scope: Scope, receive: Receive, send: Send) -> None:
            await known({**scope, "state": {"can_sign_out": True}}, receive, send)

        return sign_in

    harness = ConsoleHarness((await busy()).topic, identify=identify, mask="user_id, agent_name, header:traceparent")
    await harness.check()
    harness.addresses["NEGATIVE"] = await find_cause(harness, "execution_time_ms")
    return harness


async def refused() -> ConsoleHarness:
    """Somebody who has signed in, and has no role."""

    def identify(app: ASGIApp) -> ASGIApp:
        admission = Admission(app, RoleRules(frozenset(), frozenset(), frozenset()))

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/console.css":
                await admission.pass_open(scope, receive, send)
                return
            try:
                await admission.admit(User("ana.lopez", frozenset({"agents-emea", "on-call"})), scope, receive, send)
            except Refused as refusal:
                page = outside_page(refusal.status, refusal.title, str(refusal), can_sign_out=True)
                await page(scope, receive, send)

        return answer

    return ConsoleHarness(MemoryTopic(), identify=identify)
