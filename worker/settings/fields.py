"""Every environment variable: its default, its bounds, and a sentence about it.

`worker.settings.table` makes the table in README.md from these fields.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.core.retry import RetryPolicy
from worker.core.secrets import Secret
from worker.events.batch_policy import BatchPolicy
from worker.settings.types import (
    Host,
    Identifier,
    InstanceId,
    LogFormat,
    LogLevel,
    OptionalFile,
    OptionalIdentifier,
    OptionalText,
    Port,
    SaslMechanism,
    SecurityProtocol,
    Servers,
    Text,
    Topic,
)
from worker.writing.writer import OnUnavailable


class Settings(BaseSettings):
    """All variables, in the order of the table; a field is named as its variable, in lower case.

    `kafka_bootstrap_servers` and `clickhouse_host` have no default that could be right: they are empty where a command
    does without them, and `load` sees to it that no other command finds them so.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False, hide_input_in_errors=True)

    kafka_bootstrap_servers: Servers = Field("", description="Where the first connections to Kafka go.")
    kafka_topic: Topic = Field("execution-completed", description="Topic of the events.")
    kafka_group_id: Text = Field("metrics-worker", description="Consumer group; workers of one group share the topic.")
    kafka_dlq_topic: Topic = Field("execution-completed.dlq", description="Topic of the dead letters.")
    kafka_group_instance_id: InstanceId = Field(
        None,
        description="Name of this worker within the group, different for each: with it a restart within the session "
        "time-out causes no rebalance.",
    )
    kafka_producer_idempotence: bool = Field(
        True,
        description="Dead letters that are sent again after a lost answer are stored once; the broker must allow it.",
    )
    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="Whether connections to Kafka are encrypted (SSL) and authenticated (SASL)."
    )
    kafka_sasl_mechanism: SaslMechanism = Field(None, description="How Kafka checks the password; SASL needs it.")
    kafka_sasl_username: OptionalText = Field(
        None, description="User at Kafka; SASL needs it, except with OAUTHBEARER, where the token names it."
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, description="Password at Kafka; SASL needs it. With OAUTHBEARER the token (a JWT)."
    )
    kafka_ssl_ca_file: OptionalFile = Field(
        None, description="Certificates (PEM) of the authorities that Kafka is trusted by; else those of the system."
    )
    kafka_ssl_cert_file: OptionalFile = Field(
        None, description="Certificate (PEM) by which Kafka knows this worker; goes with KAFKA_SSL_KEY_FILE."
    )
    kafka_ssl_key_file: OptionalFile = Field(None, description="Private key (PEM) of KAFKA_SSL_CERT_FILE.")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="Password of KAFKA_SSL_KEY_FILE.")
    kafka_ssl_check_hostname: bool = Field(
        True, description="Whether the certificate of a broker must name the host that was asked for."
    )
    kafka_session_timeout_seconds: float = Field(
        45.0,
        ge=1,
        le=1800,
        description="How long the group waits for a sign of life before it gives the partitions away.",
    )
    kafka_rebalance_timeout_seconds: float = Field(
        60.0,
        ge=1,
        le=1800,
        description="How long a rebalance waits for this worker; three fifths of it are for what is in flight.",
    )
    kafka_metadata_max_age_seconds: float = Field(
        60.0, ge=0.1, le=3600, description="How long it may take until a partition that was added is read."
    )
    kafka_dlq_timeout_seconds: float = Field(
        30.0, ge=0.1, le=600, description="How long dead letters wait for acknowledgement before the worker holds."
    )

    clickhouse_host: Host = Field("", description="Where ClickHouse is.")
    clickhouse_secure: bool = Field(False, description="Whether the connections to ClickHouse use TLS.")
    clickhouse_port: Port = Field(
        default_factory=lambda given: 9440 if given["clickhouse_secure"] else 9000,
        description="Port of ClickHouse's native protocol (not HTTP).",
        json_schema_extra={"default": "9000; 9440 with CLICKHOUSE_SECURE"},
    )
    clickhouse_database: Text = Field("default", description="Database of the table; it must exist.")
    clickhouse_user: Text = Field("default", description="User at ClickHouse.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Password at ClickHouse.")
    clickhouse_ca_file: OptionalFile = Field(
        None,
        description="Certificates (PEM) of the authorities that ClickHouse is trusted by; else those of the system.",
    )
    clickhouse_cert_file: OptionalFile = Field(
        None, description="Certificate (PEM) by which ClickHouse knows this worker; goes with CLICKHOUSE_KEY_FILE."
    )
    clickhouse_key_file: OptionalFile = Field(None, description="Private key (PEM) of CLICKHOUSE_CERT_FILE.")
    clickhouse_key_password: SecretStr | None = Field(None, description="Password of CLICKHOUSE_KEY_FILE.")
    clickhouse_verify: bool = Field(True, description="Whether the certificate of ClickHouse is verified.")
    clickhouse_table: Identifier = Field("execution_metrics", description="Table of the rows; `migrate` makes it.")
    clickhouse_cluster: OptionalIdentifier = Field(
        None,
        description="Cluster on whose servers `migrate` makes the tables, as `remote_servers` in ClickHouse names it; "
        "CLICKHOUSE_TABLE is a Distributed table then, and the worker knows the constraints of the tables below it. "
        "None: the server stands alone.",
    )
    clickhouse_retention_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="Days after `completed_at` for which rows are kept: a TTL that `migrate` puts on the table; 0 "
        "takes it away. Not set: `migrate` leaves the table as it is, and by default it keeps rows for ever.",
    )
    clickhouse_writers: int = Field(
        2, ge=1, le=32, description="Blocks that are written at once; each takes a thread and a connection."
    )
    clickhouse_connect_timeout_seconds: float = Field(
        5.0, ge=0.1, le=300, description="How long a connection to ClickHouse may take to be made."
    )
    clickhouse_timeout_seconds: float = Field(
        30.0,
        ge=0.1,
        le=1800,
        description="How long ClickHouse may be silent during an insert; less than KAFKA_REBALANCE_TIMEOUT_SECONDS.",
    )

    persistence_enabled: bool = Field(
        True, description="If false, events are read, validated and counted; no row and no dead letter is written."
    )
    batch_max_events: int = Field(
        BatchPolicy.max_events,
        ge=1,
        le=1_000_000,
        description="Most events in a batch; a batch is what one commit covers.",
    )
    batch_max_bytes: int = Field(
        BatchPolicy.max_bytes,
        ge=1024,
        le=2**30,
        description="About how many bytes of records make a batch; what one poll brings (500 records) is not divided.",
    )
    batch_linger_ms: int = Field(
        round(BatchPolicy.linger_seconds * 1000),
        ge=0,
        le=60_000,
        description="How long a batch that is not full waits for more events, in milliseconds.",
    )
    retry_attempts: int = Field(
        RetryPolicy.attempts,
        ge=1,
        le=1000,
        description="Inserts of the same rows at most, the first included. Rows that fail with an error code of "
        "several meanings are tried some times more, to tell an invalid row from an outage.",
    )
    retry_max_seconds: float = Field(
        RetryPolicy.max_seconds,
        ge=0,
        le=3600,
        description="No insert of the same rows begins later than this after the first.",
    )
    retry_first_wait_seconds: float = Field(
        RetryPolicy.first_wait_seconds,
        ge=0,
        le=600,
        description="Upper end of the wait after the first failure; it doubles each time. The wait itself is random.",
    )
    retry_max_wait_seconds: float = Field(
        RetryPolicy.max_wait_seconds, ge=0, le=600, description="Upper end of every wait between two inserts."
    )
    on_unavailable: OnUnavailable = Field(
        OnUnavailable.DEAD_LETTER,
        description="What becomes of the rows in flight when the retries are spent: they are dead-lettered, or held in "
        "memory until ClickHouse is back. Either way no more than CLICKHOUSE_WRITERS + 1 batches are read until then.",
    )

    # The kubelet's probes and Prometheus come to the address of the pod. What is served there is read-only.
    http_host: Host = Field(
        "0.0.0.0",  # noqa: S104 # nosec B104
        description="Address on which health and telemetry are served; by default all of IPv4, with `::` of IPv6.",
    )
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port on which health and telemetry are served; 0 takes any that is free."
    )
    tracing_enabled: bool = Field(
        False,
        description="Whether spans go to OpenTelemetry, where its own variables `OTEL_EXPORTER_OTLP_…` say; needs "
        "`pip install execution-metrics-worker[tracing]`.",
    )
    log_level: LogLevel = Field("INFO", description="Least severity that is logged.")
    log_user_ids: bool = Field(
        False, description="Whether log lines about a failed metric name the user of its execution."
    )
    log_format: LogFormat = Field("json", description="One JSON object a line, or text for people.")
    shutdown_timeout_seconds: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="How long SIGTERM may take, three fifths of it for work in flight; less than Kubernetes' "
        "`terminationGracePeriodSeconds` (30).",
    )

    _secret_files: dict[str, Path] = PrivateAttr(default_factory=dict)

    def come_from(self, files: Mapping[str, Path]) -> None:
        """Remember which secrets (by field) stand in files, where they may be replaced."""
        self._secret_files.update(files)

    def secret(self, field: str) -> Secret | None:
        """The secret of a field, which reads its file anew; None where it is not set."""
        value: SecretStr | None = getattr(self, field)
        return Secret(value.get_secret_value(), self._secret_files.get(field)) if value else None

    @property
    def batch(self) -> BatchPolicy:
        """The limits of a batch."""
        return BatchPolicy(self.batch_max_events, self.batch_max_bytes, self.batch_linger_ms / 1000)

    @property
    def retry(self) -> RetryPolicy:
        """The budget of a block that ClickHouse does not take."""
        return RetryPolicy(
            self.retry_attempts, self.retry_max_seconds, self.retry_first_wait_seconds, self.retry_max_wait_seconds
        )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        *_: PydanticBaseSettingsSource,
        **sources: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what `load` hands over, so that there is one way in, and tests need no environment."""
        return (sources["init_settings"],)
