"""What every Kafka client of the worker needs: how to connect, a producer that can be trusted, topics that exist."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from worker.core.errors import DependencyError
from worker.kafka.authorization import RequiredAcl, find_static_member, has_group_acl, has_topic_acl
from worker.kafka.diagnosis import diagnose
from worker.kafka.target import KafkaTarget as KafkaTarget

log = structlog.get_logger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 15.0
STOP_SECONDS = 3.0
_DIAGNOSIS_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 0.2


@asynccontextmanager
async def open_producer(target: KafkaTarget, *, idempotent: bool) -> AsyncIterator[AIOKafkaProducer]:
    """A producer whose every acknowledgement means that all replicas in sync have the record.

    Raises:
        DependencyError: no broker answers.
    """
    producer = AIOKafkaProducer(
        **target.options(), acks="all", enable_idempotence=idempotent, max_batch_size=65_536, linger_ms=2
    )
    target.renew_credentials(producer.client)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await producer.start()
    except (KafkaError, OSError, TimeoutError) as error:
        await producer.stop()
        raise await diagnose_unreachable(target, error) from error
    try:
        yield producer
    finally:
        await stop_client(producer.stop())


async def require_topics(target: KafkaTarget, topics: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each topic.

    All topics are listed instead of these being asked for, because a broker may create a topic that is asked for.

    Raises:
        DependencyError: no broker answers, or a topic is missing.
    """
    async with _asking(target) as client:
        answer = await client.send(client.get_random_node(), MetadataRequest(None))
    described = {topic["topic"]: topic for topic in answer.to_object()["topics"]}
    missing = [topic for topic in topics if topic not in described]
    if missing:
        raise DependencyError(
            f"topic {', '.join(missing)} does not exist, or this user may not see it; create it (the worker never "
            "does) or correct KAFKA_TOPIC and KAFKA_DLQ_TOPIC"
        )
    return {topic: len(described[topic]["partitions"]) for topic in topics}


async def require_acls(
    target: KafkaTarget, topics: Sequence[RequiredAcl] = (), groups: Sequence[RequiredAcl] = ()
) -> None:
    """See that the user may do what the worker will; a broker that does not tell of rights is taken to grant them.

    Raises:
        DependencyError: no broker answers, or a right is missing; every one that is missing is named.
    """
    async with _asking(target) as client:
        missing = [("topic", need) for need in topics if await has_topic_acl(client, need) is False]
        missing += [("group", need) for need in groups if await _settled(partial(has_group_acl, client, need)) is False]
    if missing:
        user = f"user {target.sasl_username}" if target.sasl_username else "this client"
        lacks = (f"{need.right.name} on {what} {need.name} ({need.setting})" for what, need in missing)
        raise DependencyError(f"Kafka does not let {user} do what the worker must: it lacks {'; '.join(lacks)}")


async def find_static_member_id(target: KafkaTarget, group: str, instance_id: str) -> str | None:
    """The member id behind a name of a static member of the group; None where there is none or the broker is silent.

    Raises:
        DependencyError: no broker answers.
    """
    async with _asking(target) as client:
        return await _settled(lambda: find_static_member(client, group, instance_id))


async def _settled(ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer: a group has no coordinator for a moment when it is the first, or one moves."""
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(_ASK_AGAIN_SECONDS)


@asynccontextmanager
async def _asking(target: KafkaTarget) -> AsyncIterator[AIOKafkaClient]:
    """A client for questions, all of which must be answered in `CONNECT_SECONDS`."""
    client = AIOKafkaClient(**target.options())
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.bootstrap()
            yield client
    except (KafkaError, OSError, TimeoutError) as error:
        raise await diagnose_unreachable(target, error) from error
    finally:
        await client.close()


async def stop_client(stopping: Awaitable[None], seconds: float = STOP_SECONDS) -> None:
    """Stop a client, but not for ever: with Kafka away it would wait for acknowledgements that do not come."""
    try:
        async with asyncio.timeout(seconds):
            await stopping
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("a Kafka client did not stop in good order", error=f"{type(error).__name__}: {error}")


async def diagnose_unreachable(target: KafkaTarget, error: Exception) -> DependencyError:
    """Say that no broker answers, why each of them does not, and which variable to look at."""
    try:
        async with asyncio.timeout(_DIAGNOSIS_SECONDS):
            reasons = await diagnose(target.options())
    except TimeoutError:
        reasons = None
    if reasons is None and target.sasl_mechanism == "OAUTHBEARER" and target.security_protocol.startswith("SASL"):
        # aiokafka takes the broker's "invalid_token" for a success, and then waits for answers that do not come.
        reasons = f"{target.bootstrap_servers}: it answers nobody with this token; see KAFKA_SASL_PASSWORD"
    return DependencyError(f"Kafka cannot be reached: {reasons}") if reasons else unreachable(error)


def unreachable(error: Exception) -> DependencyError:
    """Say that no broker answers, and where to look."""
    return DependencyError(
        f"Kafka cannot be reached: {str(error) or type(error).__name__}; see KAFKA_BOOTSTRAP_SERVERS"
    )
