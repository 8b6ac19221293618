"""Environment variables that the tests of settings share."""

import pytest

from worker.core.errors import SettingsError
from worker.settings.loading import load

REQUIRED = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "CLICKHOUSE_HOST": "clickhouse"}
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": "s3cret",
}


def load_errors(**variables: str) -> list[str]:
    """The lines of the error that loading these variables raises."""
    with pytest.raises(SettingsError) as caught:
        load(REQUIRED | variables)
    return str(caught.value).splitlines()
