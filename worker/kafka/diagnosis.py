"""Why no broker lets us in, in terms of the variables that may be wrong. aiokafka logs the cause and then hides it."""

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

_MISMATCH = frozenset({62, 63, 64})
"""X509_V_ERR_HOSTNAME_MISMATCH, _EMAIL_MISMATCH and _IP_ADDRESS_MISMATCH of OpenSSL."""


async def diagnose(options: dict[str, Any]) -> str | None:
    """Ask each bootstrap server once more; the reasons of those that refuse, None when one of them does not.

    Args:
        options: of a client of aiokafka.
    """
    how = {name: value for name, value in options.items() if name != "bootstrap_servers"}
    found = []
    for host, port, _ in collect_hosts(options["bootstrap_servers"]):
        try:
            connection = await create_conn(host, port, **how)
            try:
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
        except (KafkaError, OSError, TimeoutError, ValueError) as error:
            found.append(f"{host}:{port}: {_reason(error, options['security_protocol'])}")
        else:
            return None
    return "; ".join(found)


def _reason(error: Exception, protocol: str) -> str:
    match error:
        case ssl.SSLCertVerificationError() if error.verify_code in _MISMATCH:
            return f"its certificate is for another host ({error.verify_message}); see KAFKA_SSL_CHECK_HOSTNAME"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message}); see KAFKA_SSL_CA_FILE"
        case ssl.SSLError():
            why = error.reason or error
            return f"no TLS could be agreed ({why}); see KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CERT_FILE"
        case SaslAuthenticationFailed() | ValueError():
            return "it refuses user or password; see KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and KAFKA_SASL_MECHANISM"
        case UnsupportedSaslMechanismError():
            return "it does not know this way to check a password; see KAFKA_SASL_MECHANISM"
        case IllegalSaslStateError():
            return f"it asks for no password; see KAFKA_SECURITY_PROTOCOL ({protocol})"
        case KafkaConnectionError() | ConnectionResetError() | BrokenPipeError() | TimeoutError():
            return (
                f"it does not speak {protocol}, or asks for a certificate ({_text(error)}); "
                "see KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CERT_FILE"
            )
        case _:
            return f"{_text(error)}; see KAFKA_BOOTSTRAP_SERVERS"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")
