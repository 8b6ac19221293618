"""Every environment variable: its default, its bounds and its description.

`worker.settings.variables` describes these fields for operators.
"""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from worker.batch_reader import BatchPolicy
from worker.core.retry import RetryPolicy
from worker.core.secrets import Secret
from worker.events.decode import EventPolicy
from worker.settings.types import (
    ClickHouseHosts,
    HeaderName,
    Host,
    Identifier,
    IssuerUrl,
    KafkaName,
    LabelAttributes,
    LogFormat,
    LogLevel,
    MaskText,
    Names,
    Networks,
    Port,
    PublicUrl,
    PythonFunction,
    ReadableFile,
    SaslMechanism,
    Scopes,
    SecurityProtocol,
    Servers,
    Text,
    Url,
    WorkersUrl,
)
from worker.writing.on_unavailable import OnUnavailable

_DRAIN_SHARE = 0.6
"""Share of a deadline for unfinished batches; the rest is for leaving the group and closing connections."""


class Settings(BaseModel):
    """All variables, in the order of the tables. A field has the name of its variable, in lower case.

    `kafka_bootstrap_servers` and `clickhouse_host` have no useful default. They are empty for a command that does not
    need them; `load` refuses to start any other command without them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    kafka_bootstrap_servers: Servers = Field("", description="Brokers for the first connection to Kafka.")
    kafka_topic: KafkaName = Field("execution-completed", description="Topic of the events.")
    kafka_group_id: Text = Field(
        "metrics-worker",
        description="Consumer group; workers of one group share the topic. Also the client id at Kafka.",
    )
    kafka_dlq_topic: KafkaName = Field("execution-completed.dlq", description="Topic of the dead letters.")
    kafka_group_instance_id: KafkaName | None = Field(
        None,
        description="Static membership: a name of this worker that no other member of the group has. A restart "
        "within the session time-out then causes no rebalance. Of the form `ENVIRONMENT_NAME-NUMBER` it also keeps "
        "this worker out of a group with members of another environment or name.",
    )
    kafka_producer_idempotence: bool = Field(
        True,
        description="Idempotent producer: a dead letter that is sent again after a lost answer is stored once. The "
        "broker must support it.",
    )
    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT", description="Encryption (SSL) and authentication (SASL) of the connections to Kafka."
    )
    kafka_sasl_mechanism: SaslMechanism | None = Field(None, description="SASL mechanism; required with SASL.")
    kafka_sasl_username: Text | None = Field(
        None, description="User at Kafka; required with SASL, except with OAUTHBEARER, whose token names the user."
    )
    kafka_sasl_password: SecretStr | None = Field(
        None, description="Password at Kafka; required with SASL. With OAUTHBEARER a token (a JWT)."
    )
    kafka_oauth_token_url: Url | None = Field(
        None,
        description="Token endpoint of OAUTHBEARER, instead of KAFKA_SASL_PASSWORD: the client credentials grant of "
        "OAuth 2.0. A token is renewed after four fifths of its life.",
    )
    kafka_oauth_client_id: Text | None = Field(
        None, description="Client at the token endpoint; required with KAFKA_OAUTH_TOKEN_URL."
    )
    kafka_oauth_client_secret: SecretStr | None = Field(
        None, description="Its secret, which is sent by HTTP Basic; required with KAFKA_OAUTH_TOKEN_URL."
    )
    kafka_oauth_scope: Text | None = Field(
        None, description="Scope of the tokens, or several separated by spaces; not set: the endpoint's default."
    )
    kafka_oauth_audience: Text | None = Field(
        None, description="Audience of the tokens, for an endpoint that requires the parameter `audience`."
    )
    kafka_oauth_ca_file: ReadableFile | None = Field(
        None, description="CA certificates (PEM) that verify the token endpoint; by default those of the system."
    )
    kafka_token_provider: PythonFunction | None = Field(
        None,
        description="Function that returns the text of a token for each new connection with OAUTHBEARER, instead of "
        "KAFKA_SASL_PASSWORD, such as one that signs tokens for AWS MSK. Its module must be on PYTHONPATH.",
    )
    kafka_ssl_ca_file: ReadableFile | None = Field(
        None, description="CA certificates (PEM) that verify the brokers; by default those of the system."
    )
    kafka_ssl_cert_file: ReadableFile | None = Field(
        None, description="Client certificate (PEM) of this worker; requires KAFKA_SSL_KEY_FILE."
    )
    kafka_ssl_key_file: ReadableFile | None = Field(None, description="Private key (PEM) of KAFKA_SSL_CERT_FILE.")
    kafka_ssl_key_password: SecretStr | None = Field(None, description="Password of KAFKA_SSL_KEY_FILE.")
    kafka_ssl_check_hostname: bool = Field(
        True, description="Whether the certificate of a broker must contain its host name."
    )
    kafka_session_timeout_seconds: float = Field(
        45.0,
        ge=1,
        le=1800,
        description="How long the group waits for a heartbeat before it reassigns the partitions of this worker.",
    )
    kafka_rebalance_timeout_seconds: float = Field(
        60.0,
        ge=1,
        le=1800,
        description="How long a rebalance waits for this worker; three fifths of that time are for batches in flight.",
    )
    kafka_metadata_max_age_seconds: float = Field(
        60.0, ge=0.1, le=3600, description="After how long at most the worker notices added partitions."
    )
    kafka_dlq_timeout_seconds: float = Field(
        30.0, ge=0.1, le=600, description="How long dead letters wait for acknowledgement before the worker holds."
    )

    clickhouse_host: ClickHouseHosts = Field(
        "",
        description="Host of ClickHouse, or several in order of preference: replicas of one shard, or servers with the "
        "same Distributed table. A host that does not answer within CLICKHOUSE_CONNECT_TIMEOUT_SECONDS is passed over "
        "for five minutes.",
    )
    clickhouse_secure: bool = Field(False, description="Whether the connections to ClickHouse use TLS.")
    clickhouse_port: Port = Field(
        default_factory=lambda given: 9440 if given["clickhouse_secure"] else 9000,
        description="Port of ClickHouse's native protocol (not HTTP).",
        json_schema_extra={"default": "9000; 9440 with CLICKHOUSE_SECURE"},
    )
    clickhouse_database: Text = Field("default", description="Database of the table; it must exist.")
    clickhouse_user: Text = Field("default", description="User at ClickHouse.")
    clickhouse_password: SecretStr = Field(SecretStr(""), description="Password at ClickHouse.")
    clickhouse_ca_file: ReadableFile | None = Field(
        None, description="CA certificates (PEM) that verify ClickHouse; by default those of the system."
    )
    clickhouse_cert_file: ReadableFile | None = Field(
        None, description="Client certificate (PEM) of this worker; requires CLICKHOUSE_KEY_FILE."
    )
    clickhouse_key_file: ReadableFile | None = Field(None, description="Private key (PEM) of CLICKHOUSE_CERT_FILE.")
    clickhouse_key_password: SecretStr | None = Field(None, description="Password of CLICKHOUSE_KEY_FILE.")
    clickhouse_verify: bool = Field(True, description="Whether the certificate of ClickHouse is verified.")
    clickhouse_table: Identifier = Field("execution_metrics", description="Table of the rows; `migrate` creates it.")
    clickhouse_cluster: Identifier | None = Field(
        None,
        description="Name of a cluster in `remote_servers` of ClickHouse, on whose servers `migrate` creates the "
        "tables. CLICKHOUSE_TABLE is then a Distributed table, and the worker evaluates the constraints of its "
        "local tables. Not set: a single server.",
    )
    clickhouse_retention_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="Days after `completed_at` for which rows are kept: `migrate` sets a TTL on the table; 0 "
        "removes it. Not set: `migrate` does not change the TTL; a new table has none and keeps rows for ever.",
    )
    clickhouse_writers: int = Field(
        2, ge=1, le=32, description="Blocks that are written at the same time; each takes a thread and a connection."
    )
    clickhouse_connect_timeout_seconds: float = Field(
        5.0,
        ge=0.1,
        le=300,
        description="How long each host of ClickHouse may take to accept a connection and to answer it.",
    )
    clickhouse_timeout_seconds: float = Field(
        30.0,
        ge=0.1,
        le=1800,
        description="How long an INSERT waits while ClickHouse sends nothing; less than "
        "KAFKA_REBALANCE_TIMEOUT_SECONDS.",
    )

    persistence_enabled: bool = Field(
        True,
        description="If false, events are read, validated and counted, but no rows, dead letters or offsets are "
        "written: `rows_written` stays 0, `dead_letters` counts what would be dead-lettered, and the same events are "
        "read again by the next worker of the group, or by this one after a rebalance.",
    )
    event_max_age_days: int = Field(
        EventPolicy.max_age_days,
        ge=0,
        le=36_500,
        description="How many days before the timestamp of its record the `completed_at` of an event may be; it may be "
        "one day after it. Any other event is invalid: each month is a part in ClickHouse. 0 accepts any time. Records "
        "without a timestamp are not judged.",
    )
    event_cloudevent_labels: LabelAttributes | None = Field(
        None,
        description="Attributes of CloudEvents, in both modes, that become labels of their events. A `traceparent` "
        "leads from a row to its trace, but is different for each event: the table becomes larger, and the worker "
        "needs up to twice the CPU. Not set: none.",
    )
    batch_max_events: int = Field(
        BatchPolicy.max_events,
        ge=1,
        le=1_000_000,
        description="Maximum number of events in a batch. Offsets are committed by batch, or by part of a large one.",
    )
    batch_max_bytes: int = Field(
        BatchPolicy.max_bytes,
        ge=1024,
        le=2**30,
        description="Approximate maximum of bytes in a batch; the records of one poll (at most 500) stay together.",
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
        description="Maximum number of INSERTs of the same rows, the first included. Rows that fail with an "
        "ambiguous error code are tried a few times more, to tell an invalid row from an outage.",
    )
    retry_max_seconds: float = Field(
        RetryPolicy.max_seconds,
        ge=0,
        le=3600,
        description="No retry of the same rows begins later than this after the first attempt.",
    )
    retry_first_wait_seconds: float = Field(
        RetryPolicy.first_wait_seconds,
        ge=0,
        le=600,
        description="Maximum wait after the first failure; the maximum doubles with each failure. The wait is random.",
    )
    retry_max_wait_seconds: float = Field(
        RetryPolicy.max_wait_seconds, ge=0, le=600, description="Limit of that maximum."
    )
    on_unavailable: OnUnavailable = Field(
        OnUnavailable.DEAD_LETTER,
        description="What happens to the rows in flight after the last retry of an outage: they are dead-lettered, "
        "or kept in memory until ClickHouse is back. Either way the worker reads at most CLICKHOUSE_WRITERS + 1 "
        "batches until then.",
    )

    # Kubernetes' probes and Prometheus connect to the pod's address. The server is read-only.
    http_host: Host = Field(
        "0.0.0.0",  # noqa: S104 # nosec B104
        description="Address of the HTTP server; by default all IPv4 addresses; `::` for IPv6.",
    )
    http_port: int = Field(
        8080,
        ge=0,
        le=65535,
        description="Port of the HTTP server: status page, probes and telemetry; 0 takes any free port.",
    )
    tracing_enabled: bool = Field(
        False,
        description="Whether spans are sent to OpenTelemetry, as its own variables `OTEL_EXPORTER_OTLP_…` say; "
        "requires the extra `opentelemetry`.",
    )
    otlp_metrics_enabled: bool = Field(
        False,
        description="Whether the metrics of `/metrics` are also sent by OTLP, as OpenTelemetry's own variables "
        "`OTEL_EXPORTER_OTLP_…` and `OTEL_METRIC_EXPORT_INTERVAL` (milliseconds) say; requires the extra "
        "`opentelemetry`.",
    )
    log_level: LogLevel = Field("INFO", description="Lowest severity that is logged.")
    log_user_ids: bool = Field(False, description="Whether log lines about a failed metric contain the `user_id`.")
    log_format: LogFormat = Field("json", description="One JSON object per line, or text.")
    shutdown_timeout_seconds: float = Field(
        25.0,
        ge=0,
        le=3600,
        description="Deadline after SIGTERM; three fifths of it are for work in flight. Less than Kubernetes' "
        "`terminationGracePeriodSeconds` (30).",
    )

    console_host: Host = Field(
        "127.0.0.1",
        description="Address of `metrics-worker console`. Only loopback, unless its users are known: by "
        "CONSOLE_OIDC_ISSUER or CONSOLE_PROXY_USER_HEADER.",
    )
    console_port: int = Field(
        8090, ge=0, le=65535, description="Port of `metrics-worker console`; 0 takes any free port."
    )
    console_allow_anonymous_actions: bool = Field(
        False,
        description="Whether everybody who reaches `metrics-worker console` may replay, edit, discard and restore, as "
        "`anonymous` in the journal.",
    )
    console_public_url: PublicUrl | None = Field(
        None,
        description="Address that browsers ask for; required where users are known. Requests for another host are "
        "refused, and the sign-in returns to its path `/signed-in`. Not set: only names of loopback.",
    )
    console_workers_url: WorkersUrl | None = Field(
        None,
        description="Where `metrics-worker console` asks what the workers do, such as `http://metrics-worker:8080`; "
        "it asks every address of the name, at `/readyz`. Not set: it does not ask.",
    )
    console_oidc_issuer: IssuerUrl | None = Field(
        None, description="Issuer (OpenID Connect) at which users sign in, as its discovery document names it."
    )
    console_oidc_client_id: Text | None = Field(None, description="Id of the console at the issuer.")
    console_oidc_client_secret: SecretStr | None = Field(None, description="Secret of the console at the issuer.")
    console_oidc_ca_file: ReadableFile | None = Field(
        None, description="CA certificates (PEM) that verify the issuer; by default those of the system."
    )
    console_oidc_scopes: Scopes = Field(
        "openid profile email", description="Scopes of the sign-in; some issuers send groups only with `groups`."
    )
    console_oidc_user_claim: Text = Field(
        "preferred_username", description="Claim of the ID token with the name of the user, which the journal shows."
    )
    console_oidc_groups_claim: Text = Field(
        "groups", description="Claim of the ID token with the groups of the user: a list, or one name."
    )
    console_session_seconds: int = Field(
        28_800, ge=60, le=604_800, description="How long a sign-in lasts; groups are read again at the next."
    )
    console_proxy_user_header: HeaderName | None = Field(
        None, description="Header in which a trusted proxy sends the name of the user, such as `X-Auth-Request-User`."
    )
    console_proxy_groups_header: HeaderName | None = Field(
        None, description="Header in which it sends the groups, separated by commas. Not set: users have no groups."
    )
    console_trusted_proxies: Networks | None = Field(
        None, description="Addresses of the proxies whose headers are believed: those that connect, not forwarded ones."
    )
    console_viewers: Names | None = Field(
        None,
        description="Who may read, with what CONSOLE_MASK names masked: groups, `user:NAME` for one user, `*` for "
        "everybody who is signed in.",
    )
    console_operators: Names | None = Field(
        None, description="Who may also replay, discard and restore, and see what a replay would do."
    )
    console_editors: Names | None = Field(None, description="Who may also edit, and sees everything.")
    console_mask: MaskText | None = Field(
        None,
        description="What only editors see: fields of JSON, such as `user_id` or `labels.*`, headers, such as "
        "`header:x-email`, or `*`. See [CONSOLE.md](CONSOLE.md#masking).",
    )

    _secret_files: dict[str, Path] = PrivateAttr(default_factory=dict)

    def set_secret_files(self, files: Mapping[str, Path]) -> None:
        """Name the files of those secrets (by field) that were read from files; the files may change later."""
        self._secret_files.update(files)

    def secret(self, field: str) -> Secret | None:
        """The secret of a field, which reads its file again on each use; None if it is not set."""
        value: SecretStr | None = getattr(self, field)
        return Secret(value.get_secret_value(), self._secret_files.get(field)) if value else None

    @property
    def token_variable(self) -> str:
        """The variable that says where the tokens of OAUTHBEARER come from; also that of a password."""
        sources = {
            "KAFKA_OAUTH_TOKEN_URL": self.kafka_oauth_token_url,
            "KAFKA_TOKEN_PROVIDER": self.kafka_token_provider,
        }
        return next((name for name, source in sources.items() if source), "KAFKA_SASL_PASSWORD")

    @property
    def qualified_table(self) -> str:
        """The table for rows, in the format of the header `dlq.table`."""
        return f"{self.clickhouse_database}.{self.clickhouse_table}"

    @property
    def drain_seconds_on_stop(self) -> float:
        """How long a stop waits for unfinished batches."""
        return _DRAIN_SHARE * self.shutdown_timeout_seconds

    @property
    def drain_seconds_on_revoke(self) -> float:
        """How long a rebalance waits for unfinished batches."""
        return _DRAIN_SHARE * self.kafka_rebalance_timeout_seconds

    @property
    def event_policy(self) -> EventPolicy:
        """What is decided about events."""
        labels = self.event_cloudevent_labels
        return EventPolicy(self.event_max_age_days, labels.split(",") if labels else ())

    @property
    def batch(self) -> BatchPolicy:
        """The limits of a batch."""
        return BatchPolicy(self.batch_max_events, self.batch_max_bytes, self.batch_linger_ms / 1000)

    @property
    def retry(self) -> RetryPolicy:
        """How often, and for how long, an insert is retried."""
        return RetryPolicy(
            self.retry_attempts, self.retry_max_seconds, self.retry_first_wait_seconds, self.retry_max_wait_seconds
        )
