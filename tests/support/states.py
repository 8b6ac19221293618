"""Examples of worker states for the status page."""

from dataclasses import replace

from worker.core.errors import ErrorClass
from worker.observability.activity import LastDeadLetter, Rates
from worker.observability.lag import PartitionLag
from worker.observability.status import GROUP, MAX_SILENCE_SECONDS, Status

_NOW = 1_795_000_000.0
_TOPIC = "execution-completed"

STARTING = Status(
    version="0.1.0",
    topic=_TOPIC,
    group="metrics-worker",
    started=_NOW - 3,
    now=_NOW,
    reasons={GROUP: "not a member of the consumer group yet"},
    silence_seconds=0.2,
    has_been_group_member=False,
    rates=Rates(seconds=3.0),
    totals={"events": 0, "rows": 0, "dead_letters": 0},
)
RUNNING = replace(
    STARTING,
    started=_NOW - 273_720,
    reasons={},
    has_been_group_member=True,
    lags=[PartitionLag(_TOPIC, 0, 1_200, 4.2), PartitionLag(_TOPIC, 1, 0, 0.0), PartitionLag(_TOPIC, 2, 630, 0.4)],
    rates=Rates(60.0, 12_410.0, 124_070.0, 0.3),
    totals={"events": 3_145_002_113, "rows": 31_402_008_760, "dead_letters": 1_243},
    last_dead_letters=[
        LastDeadLetter(ErrorClass.ROW_REFUSED, 17, _NOW - 200, "VIOLATED_CONSTRAINT", 469, "cost_usd"),
        LastDeadLetter(
            ErrorClass.INVALID_METRIC, 1_220, _NOW - 7_300, "UnrepresentableNumber", None, "gpu_utilisation_mean"
        ),
        LastDeadLetter(ErrorClass.INVALID_EVENT, 6, _NOW - 180_000, "InvalidJSON", None, None),
    ],
    clickhouse_servers=["clickhouse-1.metrics.svc:9440"],
    most_skipped=[(("metric", "model", "string"), 2_014_400), (("label", "attempt", "not_a_string"), 12)],
)
NOT_READY = replace(
    STARTING,
    reasons={
        GROUP: STARTING.reasons[GROUP],
        "store": "UNKNOWN_TABLE: Table metrics.execution_metrics does not exist. Maybe you meant metrics.executions?",
    },
)
HOLDING = replace(
    RUNNING,
    reasons={
        "store": "TABLE_IS_READ_ONLY: Code: 242. DB::Exception: Table is in readonly mode since the session with "
        "Keeper has expired (replica path: /clickhouse/tables/01/execution_metrics/replicas/chi-prod-0-0)."
    },
    lags=[
        PartitionLag(_TOPIC, 0, 842_310, 412.0),
        PartitionLag(_TOPIC, 1, 801_004, 409.3),
        PartitionLag(_TOPIC, 2, 0, 0),
    ],
    rates=Rates(60.0),
)
REJOINING = replace(RUNNING, reasons=STARTING.reasons)
STUCK = replace(RUNNING, silence_seconds=MAX_SILENCE_SECONDS + 12, rates=Rates(60.0))
IDLE = replace(RUNNING, lags=[], rates=Rates(60.0), totals={}, last_dead_letters=[], most_skipped=[])
MANY = replace(
    RUNNING,
    lags=[PartitionLag(_TOPIC, number, number * 7_919 % 1_000, number * 7_919 % 1_000 / 9) for number in range(192)],
)
LONG = replace(
    HOLDING,
    topic="execution-completed." * 12,
    group="metrics_worker" * 15,
    started=0.0,
    reasons={
        GROUP: "x" * 300,
        "store": f"UNKNOWN_DATABASE: {'metrics_of_executions' * 15}",
        "dead_letters": "KafkaTimeoutError: no broker answered",
    },
    lags=[PartitionLag(_TOPIC, 1_023, 9_876_543_210_123, 86_399_999.0), PartitionLag(_TOPIC, 7, 1, 59.0)],
    rates=Rates(60.0, 9_876_543.0, 98_765_432.0, 1_234_567.0),
    last_dead_letters=[
        LastDeadLetter(kind, 9_876_543_210, 0.0, "E" * 256, 99_999, "metric" * 42) for kind in ErrorClass
    ],
    most_skipped=[(("metric", "metric" * 42, "string"), 9_876_543_210)] * 10,
)
STATES = {
    "starting": STARTING,
    "holding before it joined": NOT_READY,
    "running": RUNNING,
    "holding": HOLDING,
    "rejoining": REJOINING,
    "stuck": STUCK,
    "many partitions": MANY,
    "idle": IDLE,
    "long": LONG,
}
