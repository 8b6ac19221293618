"""How to connect to Kafka: addresses, and passwords, tokens and certificates that may change in their files."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.helpers import create_ssl_context

from worker.core.errors import DependencyError
from worker.core.secrets import Secret
from worker.kafka.tokens import FixedToken, TokenAdapter, TokenProvider

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class KafkaTarget:
    """How to connect to Kafka.

    Attributes:
        client_id: names the clients in the broker's logs, its metrics and its quotas.
        token_provider: of OAUTHBEARER; without it `sasl_password` is the token.
        token_variable: the variable to look at where a broker does not accept a token.
    """

    bootstrap_servers: str
    client_id: str = "metrics-worker"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str = "PLAIN"
    sasl_username: str | None = None
    sasl_password: Secret | None = field(default=None, repr=False)
    token_provider: TokenProvider | None = field(default=None, repr=False)
    token_variable: str = "KAFKA_SASL_PASSWORD"  # noqa: S105 - a name
    ssl_ca_file: Path | None = None
    ssl_cert_file: Path | None = None
    ssl_key_file: Path | None = None
    ssl_key_password: Secret | None = field(default=None, repr=False)
    ssl_check_hostname: bool = True

    def options(self) -> dict[str, Any]:
        """The options of an aiokafka client. Raises DependencyError if a certificate or key cannot be used."""
        tokens = self.token_provider or (FixedToken(self.sasl_password) if self.sasl_password else None)
        uses_tokens = self.sasl_mechanism == "OAUTHBEARER"
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context() if self.security_protocol.endswith("SSL") else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password.reveal() if self.sasl_password else None,
            "sasl_oauth_token_provider": TokenAdapter(tokens) if tokens and uses_tokens else None,
        }

    def renew_credentials(self, client: AIOKafkaClient) -> None:
        """Make `client` read the password and all certificates from their files again for each new connection.

        aiokafka keeps those that it was created with, and has no public way to change them.
        """
        connect = client._get_conn  # noqa: SLF001

        async def connect_with_current_credentials(node_id: int, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's own
            connection = client._conns.get((node_id, options.get("group", ConnectionGroup.DEFAULT)))  # noqa: SLF001
            if connection is None or not connection.connected():
                self._reload_credentials(client)
            return await connect(node_id, **options)

        client._get_conn = connect_with_current_credentials  # noqa: SLF001

    def _reload_credentials(self, client: AIOKafkaClient) -> None:
        if self.sasl_password:
            client._sasl_plain_password = self.sasl_password.reveal()  # noqa: SLF001
        if client._ssl_context:  # noqa: SLF001
            try:
                # A new one: certificates can be added to a context, but an authority cannot be removed from it.
                client._ssl_context = self._ssl_context()  # noqa: SLF001
            except DependencyError as error:  # a file may be being replaced: keep the last context
                log.warning("the certificates cannot be read again", error=str(error))

    def _load_certificate(self, context: ssl.SSLContext, certificate: Path) -> None:
        # Without a password OpenSSL would prompt on the terminal.
        password = self.ssl_key_password.reveal() if self.ssl_key_password else ""
        context.load_cert_chain(certificate, self.ssl_key_file, password)

    def _ssl_context(self) -> ssl.SSLContext:
        try:
            context: ssl.SSLContext = create_ssl_context(cafile=self.ssl_ca_file)
        except (OSError, ssl.SSLError) as error:
            raise DependencyError(f"KAFKA_SSL_CA_FILE={self.ssl_ca_file} holds no certificate: {error}") from error
        context.check_hostname = self.ssl_check_hostname
        if self.ssl_cert_file:
            try:
                self._load_certificate(context, self.ssl_cert_file)
            except (OSError, ssl.SSLError) as error:
                raise DependencyError(
                    f"KAFKA_SSL_CERT_FILE={self.ssl_cert_file} and KAFKA_SSL_KEY_FILE={self.ssl_key_file} cannot be "
                    f"used ({error}); KAFKA_SSL_KEY_PASSWORD may be wrong, or they do not belong together"
                ) from error
        return context
