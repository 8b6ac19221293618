"""TLS errors, each with the variable to change: the driver keeps only the text of OpenSSL."""

import re

from worker.core.outcome import Outcome, OutcomeKind

_UNTRUSTED = "SSLCertVerificationError"
_OTHER = "SSLError"
_FILES = "see CLICKHOUSE_CA_FILE, CLICKHOUSE_CERT_FILE, CLICKHOUSE_KEY_FILE and CLICKHOUSE_KEY_PASSWORD"
_ADVICE = (
    (r"CERTIFICATE_VERIFY_FAILED.*mismatch", _UNTRUSTED, "its certificate is for another host; see CLICKHOUSE_HOST"),
    (r"certificate verify failed.*mismatch", _UNTRUSTED, "its certificate is for another host; see CLICKHOUSE_HOST"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", _UNTRUSTED,
     "its certificate is not trusted; see CLICKHOUSE_CA_FILE"),
    (r"ALERT_(CERTIFICATE_REQUIRED|UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|HANDSHAKE_FAILURE|ACCESS_DENIED)", _OTHER,
     "it does not accept the certificate of this worker, or requires one; see CLICKHOUSE_CERT_FILE"),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", _OTHER,
     "that port does not speak TLS; see CLICKHOUSE_SECURE and CLICKHOUSE_PORT"),
    (r"\[X509|\[SSL\] PEM lib|PEM routines|NO_CERTIFICATE_OR_CRL|KEY_VALUES_MISMATCH|BAD_DECRYPT|bad decrypt", _OTHER,
     f"a file of certificates or keys is not valid, or the password of the key is wrong; {_FILES}"),
)  # fmt: skip


def classify_tls(message: str) -> Outcome | None:
    """The outcome of a TLS error that lasts until the configuration changes; None where `message` is no such error."""
    for pattern, name, advice in _ADVICE:
        if re.search(pattern, message):
            return Outcome(OutcomeKind.MISCONFIGURED, name, f"{advice} ({message})")
    return None
