"""What is wrong with TLS, in terms of the variables: the driver keeps only OpenSSL's words of it."""

import re

from worker.core.outcome import Outcome, OutcomeKind

_UNTRUSTED = "SSLCertVerificationError"
_OTHER = "SSLError"
_FILES = "see CLICKHOUSE_CA_FILE, CLICKHOUSE_CERT_FILE, CLICKHOUSE_KEY_FILE and CLICKHOUSE_KEY_PASSWORD"
_TABLE = (
    (r"CERTIFICATE_VERIFY_FAILED.*mismatch", _UNTRUSTED, "its certificate is for another host; see CLICKHOUSE_HOST"),
    (r"certificate verify failed.*mismatch", _UNTRUSTED, "its certificate is for another host; see CLICKHOUSE_HOST"),
    (r"CERTIFICATE_VERIFY_FAILED|certificate verify failed", _UNTRUSTED,
     "its certificate is not trusted; see CLICKHOUSE_CA_FILE"),
    (r"ALERT_(CERTIFICATE_REQUIRED|UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|HANDSHAKE_FAILURE|ACCESS_DENIED)", _OTHER,
     "it does not accept the certificate of this worker, or wants one; see CLICKHOUSE_CERT_FILE"),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE", _OTHER,
     "it speaks no TLS there; see CLICKHOUSE_SECURE and CLICKHOUSE_PORT"),
    (r"\[X509|\[SSL\] PEM lib|PEM routines|NO_CERTIFICATE_OR_CRL|KEY_VALUES_MISMATCH|BAD_DECRYPT|bad decrypt", _OTHER,
     f"a file of ours holds no such thing, or the password of the key is wrong; {_FILES}"),
)  # fmt: skip


def classify_tls(words: str) -> Outcome | None:
    """The outcome of a TLS connection that can never be made as configured; None where `words` do not say so."""
    for pattern, name, advice in _TABLE:
        if re.search(pattern, words):
            return Outcome(OutcomeKind.MISCONFIGURED, name, f"{advice} ({words})")
    return None
