"""The report of a plan, and its warnings."""

import json
from collections import Counter
from math import isfinite

import pytest

from worker.batch_reader import BatchPolicy
from worker.planning.inputs import Input, PlanInputs
from worker.planning.measurement import Measurement, SampleCounts
from worker.planning.plan_warnings import find_warnings
from worker.planning.report import describe_plan, format_report
from worker.planning.sample import Sample

COUNTS = SampleCounts(
    records=1_000,
    events=1_000,
    rows=10_000,
    record_bytes=500_000,
    block_bytes=1_200_000,
    encoded_bytes=950_000,
    portions=1,
    inserts=1,
    parts=1,
    skipped=Counter(),
    skipped_labels=Counter(),
    failed=Counter(),
)
INPUTS = PlanInputs(
    sample=Sample("the first of events.jsonl", ()),
    measurement=Measurement(COUNTS, passes=9, cpu_microseconds=6.5),
    events_per_second=Input(10_000, "--rate"),
    partitions=Input(12, "topic t"),
    lag=Input(9_000_000, "group g"),
    window=Input(10_000, "table d.t"),
    window_seconds=None,
    retry_seconds=90.0,
    bytes_per_row=Input(14.0, "table d.t, 5 rows"),
    policy=BatchPolicy(),
)
WIDE = 500
REPORT = """\
Measured
  sample                        1,000  events: the first of events.jsonl
  CPU of an event             13.0 µs  6.5 µs to decode, fan out and encode, median of 8 passes / 0.5 for what was \
not run: fetching, INSERTs, commits
  rows of an event               10.0  0.0 skipped
  bytes of an event               500  key, value and headers
  bytes of a row                   95  as sent to ClickHouse
  INSERTs of a batch              1.0  with 1.0 months, each a part
Read or assumed
  events a second              10,000  --rate
  partitions                       12  topic t
  lag                       9,000,000  group g
  deduplication window         10,000  table d.t
  bytes of a row on disk           14  table d.t, 5 rows
Plan
  capacity of a worker         50,000  events a second = 0.65 of a core / 13.0 µs
  workers                           2  2 * rate / capacity = 1, * 1.5 so that one zone of three may fail = 2, at \
least 2; at most one for each partition
  partitions                       12  what the topic has, or two for each worker
  BATCH_LINGER_MS                 200  the shortest with 10 parts a second
  BATCH_MAX_EVENTS              5,000  2 * the events of that time in a worker
  rows of an INSERT            10,000  rows a second / INSERTs a second
  INSERTs a second                 10  of 2 workers
  new parts a second               10  one ClickHouse merges about 10; 20 while a backlog is worked off
  a token is remembered         8 min  at the most parts a second; an INSERT is repeated for 90 s at most \
(RETRY_MAX_SECONDS + CLICKHOUSE_TIMEOUT_SECONDS)
  disk a day                   121 GB  one copy: 86,400 s * 100,000 rows * 14.0 bytes; 44.2 TB a year
  the lag is worked off in      100 s  lag / (2 * 50,000 - 10,000 events a second)
"""


def warnings(inputs: PlanInputs) -> list[str]:
    return [*find_warnings(inputs, inputs.plan())]


def with_counts(**changes: object) -> PlanInputs:
    return INPUTS._replace(measurement=INPUTS.measurement._replace(counts=COUNTS._replace(**changes)))  # type: ignore[arg-type]  # any of its fields


def test_report_has_the_arithmetic_of_each_number() -> None:
    assert "\n".join([*format_report(INPUTS, INPUTS.plan(), WIDE), ""]) == REPORT
    assert warnings(INPUTS) == []


def test_what_is_not_known_is_said_and_not_guessed() -> None:
    inputs = INPUTS._replace(partitions=Input(None, "no Kafka"), lag=Input(None, "no Kafka"))
    lines = [*format_report(inputs, inputs.plan(), WIDE)]
    assert [line.split()[:3] for line in lines if line.endswith("no Kafka")] == [
        ["partitions", "not", "known"],
        ["lag", "not", "known"],
    ]
    assert "not known" in lines[-1]


def test_report_fits_the_width_of_the_terminal() -> None:
    assert all(len(line) <= 80 for line in format_report(INPUTS, INPUTS.plan(), 80))
    joined = " ".join(" ".join(format_report(INPUTS, INPUTS.plan(), 80)).split())
    assert joined == " ".join(REPORT.split()), "nothing is cut"


def test_messages_of_servers_cannot_control_the_terminal() -> None:
    inputs = INPUTS._replace(lag=Input(None, "line\n\x1b[2J" + 1_000 * "x"))
    (line,) = [line for line in format_report(inputs, inputs.plan(), WIDE) if line.startswith("  lag ")]
    assert line.isprintable()
    assert len(line) < 400


def test_document_has_every_number_and_none_that_json_lacks() -> None:
    inputs = INPUTS._replace(events_per_second=Input(200_000, "--rate"))  # more than 12 workers would need
    document = json.loads(json.dumps(describe_plan(inputs, inputs.plan(), ["careful"]), allow_nan=False))
    assert document["plan"]["workers"] == 12
    assert document["plan"]["batches"]["linger_ms"] == 1_000
    assert document["inputs"]["lag"] == {"value": 9_000_000, "source": "group g"}
    assert document["measured"]["rows"] == 10_000
    assert document["warnings"] == ["careful"]
    overloaded = INPUTS._replace(events_per_second=Input(600_000, "--rate"))
    assert not isfinite(overloaded.plan().catch_up_seconds or 0)
    assert describe_plan(overloaded, overloaded.plan(), [])["plan"]["catch_up_seconds"] is None  # type: ignore[index]  # a document


@pytest.mark.parametrize(
    ("inputs", "sentences"),
    [
        (INPUTS._replace(events_per_second=Input(0, "topic")), ["no event came"]),
        (INPUTS._replace(partitions=Input(1, "topic")), ["the topic has 1 partitions, so 1 of 2 workers"]),
        (
            INPUTS._replace(events_per_second=Input(150_000, "--rate"), partitions=Input(2, "topic")),
            [
                "the topic has 2 partitions, so 7 of 9 workers would get none: it needs 24",
                "2 workers handle 100,000 events a second at most",
                "11 new parts a second are more than the 10",
            ],
        ),
        (
            INPUTS._replace(events_per_second=Input(1_000_000, "--rate"), partitions=Input(120, "topic")),
            ["72 new parts a second are more than the 10", "ClickHouse remembers it for 47 s"],
        ),
        (
            INPUTS._replace(events_per_second=Input(50_000, "--rate")),
            ["with BATCH_LINGER_MS=200 and BATCH_MAX_EVENTS=5000, as set now, there would be 15 new parts a second"],
        ),
        (INPUTS._replace(window=Input(0, "table")), ["the table has no deduplication window"]),
        (
            INPUTS._replace(window=Input(1_000, "table")),
            ["an INSERT may be repeated for 90 s, and ClickHouse remembers it for 50 s"],
        ),
        (INPUTS._replace(sample=Sample("file", (), too_long=3)), ["3 lines are too long"]),
        (
            with_counts(failed=Counter(NaN=2), skipped=Counter(string=5, null=1), skipped_labels=Counter(x=4)),
            ["2 dead letters of 1,000 events (2 NaN)", "are skipped: 1 null, 5 string in", "labels are skipped: 4 x"],
        ),
    ],
)
def test_warning_of_each_problem(inputs: PlanInputs, sentences: list[str]) -> None:
    found = warnings(inputs)
    assert len(found) == len(sentences), found
    assert all(sentence in warning for warning, sentence in zip(found, sentences, strict=True)), found
