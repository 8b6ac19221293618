"""Passwords on connections that are not encrypted."""

import pytest

from tests.unit.settings.variables import REQUIRED, SASL
from worker.settings.encryption import find_unencrypted_connections
from worker.settings.loading import load

PASSWORD = {"CLICKHOUSE_PASSWORD": "s3cret"}


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, []),
        (PASSWORD, ["CLICKHOUSE_SECURE"]),
        (PASSWORD | {"CLICKHOUSE_SECURE": "true"}, []),
        *((PASSWORD | {"CLICKHOUSE_HOST": host}, []) for host in ("localhost", "127.0.0.1", "::1")),
        (PASSWORD | {"CLICKHOUSE_HOST": "10.0.0.1"}, ["CLICKHOUSE_SECURE"]),
        (PASSWORD | {"CLICKHOUSE_HOST": "127.0.0.1:9001,[::1]:9000"}, []),
        (PASSWORD | {"CLICKHOUSE_HOST": "127.0.0.1,10.0.0.1"}, ["CLICKHOUSE_SECURE"]),
        (SASL | {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, []),
        *(
            (
                {
                    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                    "KAFKA_SASL_MECHANISM": "OAUTHBEARER",
                    "KAFKA_OAUTH_TOKEN_URL": url,
                    "KAFKA_OAUTH_CLIENT_ID": "worker",
                    "KAFKA_OAUTH_CLIENT_SECRET": "s3cret",
                },
                names,
            )
            for url, names in (
                ("https://login/token", []),
                ("http://localhost/token", []),
                ("http://login/token", ["KAFKA_OAUTH_TOKEN_URL"]),
            )
        ),
        (SASL | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, ["KAFKA_SECURITY_PROTOCOL"]),
        (
            SASL
            | {
                "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
                "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,[::1]:9092,127.0.0.1:1",
            },
            [],
        ),
        (
            SASL
            | {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_BOOTSTRAP_SERVERS": "localhost:9092,kafka-1:9092"},
            ["KAFKA_SECURITY_PROTOCOL"],
        ),
    ],
)
def test_password_without_tls_is_found_where_it_leaves_the_machine(variables: dict[str, str], names: list[str]) -> None:
    found = list(find_unencrypted_connections(load(REQUIRED | variables)))
    assert [sentence.partition("=")[0] for sentence in found] == names
    assert "s3cret" not in "".join(found)
