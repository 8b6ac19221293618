"""Listeners of the broker: plaintext, TLS, SASL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.local.process import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    **dict.fromkeys(SCRAM, "org.apache.kafka.common.security.scram.ScramLoginModule"),
    "OAUTHBEARER": "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule",
}
_VALIDATOR = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"


@dataclass(frozen=True)
class Certificate:
    """PEM files: the broker's private key with its certificate chain, and the certificate authority."""

    key_and_chain: Path
    authority: Path


class Listener:
    """A listener of the broker, on a free port.

    Args:
        name: in capitals.
        protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
        users: passwords by user, for SASL; PLAIN and both SCRAM mechanisms know all of them. OAUTHBEARER accepts every
            unsigned token (`{"alg": "none"}`) that has not expired.
        certificate: for TLS.
        requires_client_certificates: whether clients need a certificate of the same authority.
        advertised_port: the port that the broker advertises to clients, if that is a proxy's.
        issuer: of OAUTHBEARER: its tokens, signed by a key of `issuer/keys`, are accepted instead, for `kafka`.
        reauthentication_ms: after how long at most a client must authenticate again, or is cut; 0: never.
    """

    def __init__(
        self,
        name: str,
        protocol: str = "PLAINTEXT",
        *,
        users: Mapping[str, str] | None = None,
        certificate: Certificate | None = None,
        requires_client_certificates: bool = False,
        advertised_port: int | None = None,
        issuer: str | None = None,
        reauthentication_ms: int = 0,
    ) -> None:
        self.name = name
        self.protocol = protocol
        self.users = dict(users or {})
        self.port = free_port()
        self.advertised_port = advertised_port or self.port
        self.issuer = issuer
        self._reauthentication_ms = reauthentication_ms
        self._certificate = certificate
        self._requires_client_certificates = requires_client_certificates

    @property
    def address(self) -> str:
        """Host and port, as in KAFKA_BOOTSTRAP_SERVERS."""
        return f"{LOOPBACK}:{self.port}"

    def settings(self) -> Iterator[tuple[str, str]]:
        """Yield the properties of this listener for the broker's configuration."""
        prefix = f"listener.name.{self.name.lower()}"
        if self.protocol.startswith("SASL"):
            yield f"{prefix}.sasl.enabled.mechanisms", ",".join(_MODULES)
            for mechanism, module in _MODULES.items():
                known = self.users if mechanism == "PLAIN" else {}  # SCRAM reads users from the cluster's metadata
                users = "".join(f' user_{user}="{password}"' for user, password in known.items())
                yield f"{prefix}.{mechanism.lower()}.sasl.jaas.config", f"{module} required{users};"
                yield f"{prefix}.{mechanism.lower()}.connections.max.reauth.ms", str(self._reauthentication_ms)
        if self.issuer:
            yield f"{prefix}.oauthbearer.sasl.server.callback.handler.class", _VALIDATOR
            yield f"{prefix}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url", f"{self.issuer}/keys"
            yield f"{prefix}.oauthbearer.sasl.oauthbearer.expected.issuer", self.issuer
            yield f"{prefix}.oauthbearer.sasl.oauthbearer.expected.audience", "kafka"
        if self._certificate is not None:
            yield f"{prefix}.ssl.keystore.type", "PEM"
            yield f"{prefix}.ssl.keystore.location", str(self._certificate.key_and_chain)
            yield f"{prefix}.ssl.truststore.type", "PEM"
            yield f"{prefix}.ssl.truststore.location", str(self._certificate.authority)
            yield f"{prefix}.ssl.client.auth", "required" if self._requires_client_certificates else "none"

    def scram_credentials(self) -> Iterator[str]:
        """Yield the users' credentials as arguments of `StorageTool format --add-scram`."""
        for mechanism in SCRAM if self.protocol.startswith("SASL") else ():
            for user, password in self.users.items():
                yield f"{mechanism}=[name={user},password={password}]"
