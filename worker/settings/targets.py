"""The connection to Kafka, the consumer group and the ACLs that the settings describe."""

from functools import lru_cache

from worker.kafka.authorization import AclOperation, RequiredAcl
from worker.kafka.membership import GroupPolicy
from worker.kafka.target import KafkaTarget
from worker.kafka.token_endpoint import ClientCredentials, TokenEndpoint
from worker.kafka.tokens import FunctionToken, TokenProvider
from worker.settings.fields import Settings


@lru_cache(maxsize=8)
def kafka_target(settings: Settings) -> KafkaTarget:
    """How to connect to Kafka. The same object for equal settings: all clients of a process share its token."""
    return KafkaTarget(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=settings.kafka_group_id,  # so that the broker tells instances apart
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.secret("kafka_sasl_password"),
        token_provider=_token_provider(settings),
        token_variable=settings.token_variable,
        ssl_ca_file=settings.kafka_ssl_ca_file,
        ssl_cert_file=settings.kafka_ssl_cert_file,
        ssl_key_file=settings.kafka_ssl_key_file,
        ssl_key_password=settings.secret("kafka_ssl_key_password"),
        ssl_check_hostname=settings.kafka_ssl_check_hostname,
    )


def _token_provider(settings: Settings) -> TokenProvider | None:
    """The source of the tokens of OAUTHBEARER; None if that is KAFKA_SASL_PASSWORD."""
    if settings.kafka_token_provider:
        return FunctionToken(settings.kafka_token_provider)
    secret = settings.secret("kafka_oauth_client_secret")
    if not (settings.kafka_oauth_token_url and settings.kafka_oauth_client_id and secret):
        return None
    credentials = ClientCredentials(
        settings.kafka_oauth_token_url,
        settings.kafka_oauth_client_id,
        secret,
        settings.kafka_oauth_scope,
        settings.kafka_oauth_audience,
        settings.kafka_oauth_ca_file,
    )
    return TokenEndpoint(credentials)


def group_policy(settings: Settings) -> GroupPolicy:
    """How to be a member of the consumer group."""
    return GroupPolicy(
        settings.kafka_group_id,
        settings.kafka_group_instance_id,
        settings.kafka_session_timeout_seconds,
        settings.kafka_rebalance_timeout_seconds,
        settings.kafka_metadata_max_age_seconds,
        commits=settings.persistence_enabled,
    )


def kafka_acls(settings: Settings) -> tuple[list[RequiredAcl], list[RequiredAcl]]:
    """The ACLs that `run` requires: on topics, and on groups."""
    topics = [RequiredAcl(AclOperation.READ, settings.kafka_topic, "KAFKA_TOPIC")]
    if settings.persistence_enabled:  # otherwise it writes no dead letters
        topics.append(RequiredAcl(AclOperation.WRITE, settings.kafka_dlq_topic, "KAFKA_DLQ_TOPIC"))
    return topics, [RequiredAcl(AclOperation.READ, settings.kafka_group_id, "KAFKA_GROUP_ID")]
