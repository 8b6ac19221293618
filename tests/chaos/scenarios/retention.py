"""Retention that deletes records before they are read."""

import asyncio

from tests.chaos.environment import Environment
from tests.chaos.scenario import scenario
from tests.support.topic import delete_records

_EXPIRED = "metrics_worker_records_expired_total"


@scenario("records-expired", events=6_000, apache_kafka=True, short=True)
def expire_records(env: Environment) -> None:
    """No worker runs while retention deletes records of each partition: exactly these are missing, and reported."""
    env.load.send(env.events // 3)
    first = env.workers.start()
    env.wait_until_committed()
    first.terminate()
    committed = env.committed_offsets()
    env.load.send(env.events // 3)
    starts = {
        partition: env.random.randint(read, env.expectations.ends[partition]) for partition, read in committed.items()
    }
    asyncio.run(delete_records(env.stack.broker.bootstrap_servers, env.stack.topic, starts))
    for partition, start in starts.items():
        env.expectations.expire(partition, range(committed[partition], start))
    expired = sum(starts.values()) - sum(committed.values())
    audited = env.read_audit_sums()["expired"]
    env.check(audited == expired, f"the audit counts {audited} expired records, {expired} have expired")
    second = env.workers.start()
    env.load.send_rest()
    env.wait_until_committed()
    counted = sum(second.telemetry().get(_EXPIRED, {}).values())
    env.check(counted == expired, f"the worker counts {counted:g} expired records, {expired} have expired")
    logged = sum(line["records"] for line in second.log_lines("records expired before they were read"))
    env.check(logged == expired, f"the worker logs {logged} expired records, {expired} have expired")
    env.figures |= {"expired": expired, "counted": counted, "logged": logged}
