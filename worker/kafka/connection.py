"""Opening and closing Kafka clients, and checks of topics and ACLs before the worker starts.

A function that sends requests raises DependencyError if no broker answers.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import aiokafka.client
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from worker.core.errors import DependencyError
from worker.kafka import broker_connection
from worker.kafka.authorization import RequiredAcl, describe_static_members, has_group_acl, has_topic_acl
from worker.kafka.diagnosis import diagnose
from worker.kafka.target import KafkaTarget
from worker.kafka.tokens import TokenAdapter

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Else each refresh of the metadata lets a broker create a topic that was deleted, with its default partitions and
# retention (auto.create.topics.enable is on by default). aiokafka has no option for it.
aiokafka.client.MetadataRequest = partial(MetadataRequest, allow_auto_topic_creation=False)
broker_connection.install()

CONNECT_SECONDS = 15.0
_STOP_SECONDS = 3.0
_DIAGNOSIS_SECONDS = 5.0
_RETRY_SECONDS = 0.2


async def start_clients(target: KafkaTarget, *clients: AIOKafkaConsumer | AIOKafkaProducer) -> None:
    """Start all of them, or stop them all if one cannot start or this is cancelled."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for client in clients:
                # A consumer has no public way to its client.
                target.renew_credentials(client.client if isinstance(client, AIOKafkaProducer) else client._client)  # noqa: SLF001
                await client.start()
    except BaseException as error:
        for client in clients:
            await stop_client(client.stop())
        if isinstance(error, KafkaError | OSError | TimeoutError):
            raise await diagnose_unreachable(target, error) from error
        raise


async def stop_client(stopping: Awaitable[object], seconds: float | None = _STOP_SECONDS) -> None:
    """Stop a client, but give up after `seconds`: without Kafka it would wait for acknowledgements for ever."""
    try:
        async with asyncio.timeout(seconds):
            await stopping
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("a Kafka client did not stop cleanly", error=f"{type(error).__name__}: {error}")


async def require_topics(target: KafkaTarget, topics: Sequence[str]) -> dict[str, int]:
    """The number of partitions of each topic.

    It requests the list of all topics, because a broker may create a topic that is requested by name.
    Raises DependencyError if a topic is missing.
    """
    async with open_client(target) as client:
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
    """Raise a DependencyError that names every missing ACL; if the broker gives no answer, they count as granted."""
    async with open_client(target) as client:
        missing = [("topic", acl) for acl in topics if await has_topic_acl(client, acl) is False]
        missing += [
            ("group", acl) for acl in groups if await _retry_transient(partial(has_group_acl, client, acl)) is False
        ]
    if missing:
        user = f"Kafka user {target.sasl_username}" if target.sasl_username else "this Kafka client"
        acls = (f"{acl.operation.name} on {kind} {acl.name} ({acl.setting})" for kind, acl in missing)
        raise DependencyError(f"{user} lacks ACLs: {'; '.join(acls)}")


async def find_static_members(target: KafkaTarget, group: str) -> dict[str, str]:
    """The member ids of the static members of a group by name; empty also if the broker gives no answer."""
    async with open_client(target) as client:
        return await _retry_transient(partial(describe_static_members, client, group))


async def _retry_transient(request: Callable[[], Awaitable[T]]) -> T:
    """Retry until the timeout of the caller: a new group, or one that moves, has no coordinator for a moment."""
    while True:
        try:
            return await request()
        except KafkaError as error:
            if not error.retriable:
                raise
            await asyncio.sleep(_RETRY_SECONDS)


@asynccontextmanager
async def open_client(target: KafkaTarget) -> AsyncIterator[AIOKafkaClient]:
    """A client for some requests, which must all be answered within `CONNECT_SECONDS`."""
    client = AIOKafkaClient(**target.options())
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            await client.bootstrap()
            yield client
    except (KafkaError, OSError, TimeoutError) as error:
        raise await diagnose_unreachable(target, error) from error
    finally:
        await client.close()


async def ping(target: KafkaTarget) -> None:
    """Connect, and wait for an answer. Raises DependencyError if no broker answers."""
    async with open_client(target):
        pass


async def diagnose_unreachable(target: KafkaTarget, error: Exception) -> DependencyError:
    """The error that Kafka cannot be reached, with a reason for each broker and the variable to check."""
    options = target.options()
    try:
        async with asyncio.timeout(_DIAGNOSIS_SECONDS):
            reasons = await diagnose(options)
    except TimeoutError:
        reasons = None
    if reasons is None:
        reasons = _token_problem(target, options["sasl_oauth_token_provider"])
    return DependencyError(f"Kafka cannot be reached: {reasons}") if reasons else unreachable_error(error)


def _token_problem(target: KafkaTarget, tokens: TokenAdapter | None) -> str | None:
    """Why a broker that refuses nothing does not answer, if it is the token."""
    if tokens is None or tokens.returned is None:  # no token was asked for
        return None
    if not tokens.returned:
        return f"no token in {_DIAGNOSIS_SECONDS:g} s; see {target.token_variable}"
    # aiokafka takes the broker's "invalid_token" for success, and then gets no answers.
    return f"{target.bootstrap_servers}: it does not accept this token; see {target.token_variable}"


def unreachable_error(error: Exception) -> DependencyError:
    """The error that Kafka cannot be reached."""
    return DependencyError(
        f"Kafka cannot be reached: {str(error) or type(error).__name__}; see KAFKA_BOOTSTRAP_SERVERS"
    )
