"""Why a broker refuses the connection, and which variable may be wrong: aiokafka only logs the cause."""

import ssl
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from worker.kafka.tokens import TokenUnavailable

_MISMATCH = frozenset({62, 63, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH and _IP_ADDRESS_MISMATCH of OpenSSL."""


async def diagnose(options: dict[str, Any]) -> str | None:
    """Connect to each bootstrap server again; returns the reasons why they refuse, or None if one of them accepts."""
    connection_options = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    reasons = []
    for host, port, _ in collect_hosts(options["bootstrap_servers"]):
        try:
            connection = await create_conn(host, port, **connection_options)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            reasons.append(f"{host}:{port}: {_reason(error, options['security_protocol'])}")
        else:
            return None
    return "; ".join(reasons)


def _reason(error: Exception, protocol: str) -> str:
    match error:
        case TokenUnavailable():
            return str(error.args[0])
        case ssl.SSLCertVerificationError() if error.verify_code in _MISMATCH:
            return f"its certificate is for another host ({error.verify_message}); see KAFKA_SSL_CHECK_HOSTNAME"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}); see KAFKA_SSL_CA_FILE"
        case ssl.SSLError():
            why = error.reason or error
            return f"TLS handshake failed ({why}); see KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CERT_FILE"
        case SaslAuthenticationFailed() | ValueError():
            return "it refuses user or password; see KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
        case UnsupportedSaslMechanismError():
            return "it does not support this mechanism; see KAFKA_SASL_MECHANISM"
        case IllegalSaslStateError():
            return f"it does not use SASL; see KAFKA_SECURITY_PROTOCOL ({protocol})"
        case KafkaConnectionError() | ConnectionResetError() | BrokenPipeError() | TimeoutError():
            return (
                f"it does not accept {protocol}, or requires a certificate ({_text(error)}); "
                "see KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CERT_FILE"
            )
        case _:
            return f"{_text(error)}; see KAFKA_BOOTSTRAP_SERVERS"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
