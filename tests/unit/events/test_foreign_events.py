"""Events as teams send them that have agents, and have not read the contract: what becomes of each."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

import pytest

from tests.support.events import Record
from worker.core.model import FailedEvent, FailedMetric
from worker.dead_letters.value import format_number
from worker.events.decode import EventPolicy
from worker.events.fan_out import FanOut
from worker.events.skip_counter import count_by_name

SENT_AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY_BEFORE = "2026-11-24T09:14:03"
MORNING = 1_795_511_643
"""`DAY_BEFORE` in seconds since 1970, UTC."""
ID = "17362f25-89e7-4cf4-ae3e-a26bb1852f27"


class Case(NamedTuple):
    """What one team sends, and what becomes of it; `stored` has the fields that are not the usual ones.

    Attributes:
        rows: the metrics that are rows.
        skipped: the names of metrics and labels that are skipped.
        refused: the numbers that are dead letters alone.
        error: the type of the dead letter, if the whole event is one.
    """

    sent: Mapping[str, object] | str
    rows: Mapping[str, float] = {}
    skipped: tuple[str, ...] = ()
    refused: Mapping[str, str] = {}
    error: str | None = None
    stored: Mapping[str, object] = {}
    headers: tuple[tuple[str, bytes], ...] = ()


def sent(**fields: object) -> dict[str, object]:
    return {"execution_id": ID, "agent_name": "a", "completed_at": f"{DAY_BEFORE}Z", "metrics": {"ms": 5}} | fields


CASES = {
    "OpenTelemetry's names, strings among the metrics": Case(
        sent(
            status="ok",
            metrics={
                "gen_ai.usage.input_tokens": 5321,
                "gen_ai.client.operation.duration": 7.412,
                "gen_ai.request.model": "some-model-large",
                "gen_ai.response.finish_reasons": ["stop"],
                "error.type": None,
            },
        ),
        rows={"gen_ai.usage.input_tokens": 5321, "gen_ai.client.operation.duration": 7.412},
        skipped=("gen_ai.request.model", "gen_ai.response.finish_reasons", "error.type"),
        stored={"labels": {"status": "ok"}},
    ),
    "the same, with labels": Case(
        sent(labels={"gen_ai.request.model": "some-model-large", "gen_ai.provider.name": "provider-a"}),
        rows={"ms": 5},
        stored={"labels": {"gen_ai.provider.name": "provider-a", "gen_ai.request.model": "some-model-large"}},
    ),
    "Langfuse's objects": Case(
        sent(
            metrics={
                "latency": 2.318,
                "usageDetails": {"input": 921, "output": 118},
                "scores": {"helpfulness": 0.92},
                "level": "DEFAULT",
                "result_success": True,
            }
        ),
        rows={"latency": 2.318, "result_success": 1},
        skipped=("usageDetails", "scores", "level"),
    ),
    "a chain with tags, microseconds and an offset": Case(
        sent(
            completed_at=f"{DAY_BEFORE}.950000+00:00",
            metrics={"total_tokens": 2044, "feedback.user_score": None, "tags": ["prod", "v42"], "error": ""},
        ),
        rows={"total_tokens": 2044},
        skipped=("feedback.user_score", "tags", "error"),
        stored={"completed_at": MORNING * 1000 + 950},
    ),
    "a crew with booleans, in another time zone": Case(
        sent(agent_name="crew/planner", user_id=None, completed_at="2026-11-24T10:14:03.001+01:00",
             metrics={"delegations": 3, "human_input": False, "crew": "market-study"}),
        rows={"delegations": 3, "human_input": 0},
        skipped=("crew",),
        stored={"agent_name": "crew/planner", "user_id": None, "completed_at": MORNING * 1000 + 1},
    ),
    "a run id, a number as user, seconds since 1970": Case(
        sent(execution_id="run_6f1c2ab7d3", user_id=42, completed_at=MORNING),
        rows={"ms": 5},
        stored={"execution_id": "run_6f1c2ab7d3", "user_id": "42", "completed_at": MORNING * 1000},
    ),
    "a path as id, milliseconds since 1970": Case(
        sent(execution_id="wf/order-sync/2026-11-20#17", completed_at=MORNING * 1000 + 123),
        rows={"ms": 5},
        stored={"execution_id": "wf/order-sync/2026-11-20#17", "completed_at": MORNING * 1000 + 123},
    ),
    "microseconds since 1970": Case(sent(completed_at=MORNING * 1_000_000), error="InvalidField"),
    "a UUID in upper case, a time of SQL, numbers in quotes": Case(
        sent(execution_id=ID.upper(), completed_at=DAY_BEFORE.replace("T", " "),
             metrics={"execution_time_ms": "812", "cpu_percent": "37%"}),
        skipped=("execution_time_ms", "cpu_percent"),
        stored={"completed_at": MORNING * 1000},
    ),
    "a trace id, a time without an offset": Case(
        sent(execution_id="0ab8ab67986e4fb7a65673f7f6fa5db8", completed_at=DAY_BEFORE),
        rows={"ms": 5},
        stored={"execution_id": "0ab8ab67986e4fb7a65673f7f6fa5db8", "completed_at": MORNING * 1000},
    ),
    "another set of metrics in each event": Case(
        sent(labels={"release": "2026.11.0", "environment": "production"},
             metrics={"tool.search.calls": 1, "tool.mail.calls": 0, "model": "m-a", "result_success": True}),
        rows={"tool.search.calls": 1, "tool.mail.calls": 0, "result_success": 1},
        skipped=("model",),
        stored={"labels": {"environment": "production", "release": "2026.11.0"}},
    ),
    "sixty metrics": Case(
        sent(metrics={f"layer_{number:02}.mean": number / 7 for number in range(60)}),
        rows={f"layer_{number:02}.mean": number / 7 for number in range(60)},
    ),
    "names in other scripts, and one that is empty": Case(
        sent(agent_name="übersetzer", user_id="ü-17",
             metrics={"qualität": 0.93, "コスト": 12, "p99 latency (ms)": 312.5, "gpu/0/util": 71, "": 5}),
        rows={"qualität": 0.93, "コスト": 12, "p99 latency (ms)": 312.5, "gpu/0/util": 71},
        refused={"": "5"},
        stored={"agent_name": "übersetzer", "user_id": "ü-17"},
    ),
    "the last millisecond of a month": Case(
        sent(completed_at="2026-10-31T23:59:59.999Z"), rows={"ms": 5}, stored={"completed_at": 1_793_491_199_999}
    ),
    "a leap second": Case(
        sent(completed_at="2026-11-24T23:59:60Z"), rows={"ms": 5}, stored={"completed_at": 1_795_564_800_000}
    ),
    "a backfill of last year": Case(sent(completed_at="2025-02-11T10:00:00Z"), error="TooOld"),
    "a clock that starts at 1970": Case(sent(completed_at="1970-01-01T00:00:00Z"), error="TooOld"),
    "a clock a century ahead": Case(sent(completed_at="2126-11-20T09:14:00Z"), error="InFuture"),
    "no metrics": Case(sent(metrics={})),
    "a typing mistake in the name of a field": Case(
        {name: value for name, value in sent(metric={"ms": 5}).items() if name != "metrics"}, error="InvalidField"
    ),
    "numbers at the limits": Case(
        sent(metrics={"i64": 2**63 - 1, "u64": 2**64 - 1, "big": 10**29, "tiny": 5e-324, "float": 12.0}),
        rows={"i64": 2.0**63, "u64": 2.0**64, "big": 1e29, "tiny": 5e-324, "float": 12},
    ),
    "a structured CloudEvent": Case(
        {"specversion": "1.0", "id": "1", "source": "/agents/planner", "type": "execution.completed", "data": sent()},
        rows={"ms": 5},
        headers=(("content-type", b"application/cloudevents+json"),),
        stored={"labels": {"source": "/agents/planner"}},
    ),
    "a structured CloudEvent without its content type": Case(
        {"specversion": "1.0", "id": "1", "source": "/agents/planner", "type": "execution.completed", "data": sent()},
        error="InvalidField",
    ),
    "an envelope of their own": Case({"version": 2, "payload": sent(), "meta": {"trace": "4b"}}, error="InvalidField"),
    "NaN and Infinity of pandas": Case(
        json.dumps(sent(metrics={"loss": float("nan"), "lr": 1e-05, "grad_norm": float("inf"), "model": "tiny"})),
        rows={"lr": 1e-05},
        skipped=("model",),
        refused={"loss": "NaN", "grad_norm": "Infinity"},
    ),
    "a user that is a float of pandas": Case(sent(user_id=42.0), rows={"ms": 5}, stored={"user_id": "42"}),
    "a number, a boolean and null among the labels": Case(
        sent(labels={"release": "v1", "attempt": 2, "beta": True, "region": None}),
        rows={"ms": 5},
        skipped=("attempt", "beta", "region"),
        stored={"labels": {"release": "v1"}},
    ),
    "tags in place of labels": Case(sent(labels=["prod"]), rows={"ms": 5}, skipped=("labels",)),
    "a number as status": Case(sent(status=200), rows={"ms": 5}, skipped=("status",)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_event_of_another_team_becomes_what_the_contract_says(name: str) -> None:
    case = CASES[name]
    value = case.sent if isinstance(case.sent, str) else json.dumps(case.sent)
    fan_out = FanOut(EventPolicy(cloudevent_labels=("source",)))
    fan_out.add_record(Record(value.encode(), timestamp=int(SENT_AT.timestamp() * 1000), headers=case.headers))
    rows = [row for block in fan_out.blocks.values() for row in block.rows()]
    events = [item for item in fan_out.failed if isinstance(item, FailedEvent)]
    metrics = [item for item in fan_out.failed if isinstance(item, FailedMetric)]
    assert {row.metric: float(row.value) for row in rows} == dict(case.rows)
    assert [name for _, name, _ in count_by_name(fan_out.skipped_metrics, fan_out.skipped_labels)] == list(case.skipped)
    assert {item.metric: format_number(item.value) for item in metrics} == dict(case.refused)
    assert [item.failure.error_type for item in events] == ([case.error] if case.error else [])
    expected: dict[str, object] = {
        "execution_id": ID,
        "agent_name": "a",
        "user_id": None,
        "completed_at": MORNING * 1000,
        "labels": {},
    }
    for row in rows:
        stored = row.event._asdict() | {"labels": dict(row.event.labels)}
        assert {field: stored[field] for field in expected} == expected | dict(case.stored)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("microseconds since 1970", "seconds (below 1e11) or milliseconds since 1970"),
        ("a typing mistake in the name of a field", "metrics is missing; it must be an object"),
        ("an envelope of their own", "agent_name is missing; it must be a string of 1 to 256 characters"),
    ],
)
def test_dead_letter_says_what_to_send(name: str, words: str) -> None:
    fan_out = FanOut()
    fan_out.add_record(Record(json.dumps(CASES[name].sent).encode(), timestamp=int(SENT_AT.timestamp() * 1000)))
    (failed,) = fan_out.failed
    assert words in failed.failure.message
