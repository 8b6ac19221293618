"""Which connections send a password, but are not encrypted."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from worker.clickhouse.servers import parse_servers
from worker.core.network import is_loopback
from worker.settings.fields import Settings


def find_unencrypted_connections(settings: Settings) -> Iterator[str]:
    """A sentence for each service whose password or token is set while TLS is off; not for one on this machine."""
    hosts = [server.rpartition(":")[0].strip("[]") for server in settings.kafka_bootstrap_servers.split(",")]
    if settings.kafka_security_protocol == "SASL_PLAINTEXT" and not all(is_loopback(host) for host in hosts if host):
        yield (
            "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT: the connections to Kafka are not encrypted, although "
            f"{settings.token_variable} is set; SASL_SSL encrypts them"
        )
    endpoint = urlsplit(settings.kafka_oauth_token_url or "")
    if endpoint.scheme == "http" and not is_loopback(endpoint.hostname or ""):
        yield (
            f"KAFKA_OAUTH_TOKEN_URL={settings.kafka_oauth_token_url}: the connections to the token endpoint are not "
            "encrypted, although KAFKA_OAUTH_CLIENT_SECRET is set; https encrypts them"
        )
    has_password = bool(settings.clickhouse_password.get_secret_value())
    servers = parse_servers(settings.clickhouse_host, settings.clickhouse_port) if settings.clickhouse_host else []
    if has_password and not settings.clickhouse_secure and not all(is_loopback(server.host) for server in servers):
        yield (
            "CLICKHOUSE_SECURE=false: the connections to ClickHouse are not encrypted, although CLICKHOUSE_PASSWORD is "
            "set; CLICKHOUSE_SECURE=true encrypts them"
        )
