"""The connection to Kafka, the consumer group and the ACLs that the settings describe."""

from worker.kafka.authorization import AclOperation, RequiredAcl
from worker.kafka.membership import GroupPolicy
from worker.kafka.target import KafkaTarget
from worker.settings.fields import Settings


def kafka_target(settings: Settings) -> KafkaTarget:
    """How to connect to Kafka."""
    return KafkaTarget(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=settings.kafka_group_id,  # so that the broker tells instances apart
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
        sasl_username=settings.kafka_sasl_username,
        sasl_password=settings.secret("kafka_sasl_password"),
        ssl_ca_file=settings.kafka_ssl_ca_file,
        ssl_cert_file=settings.kafka_ssl_cert_file,
        ssl_key_file=settings.kafka_ssl_key_file,
        ssl_key_password=settings.secret("kafka_ssl_key_password"),
        ssl_check_hostname=settings.kafka_ssl_check_hostname,
    )


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
