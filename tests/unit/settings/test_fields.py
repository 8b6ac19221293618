"""Defaults and valid values of the settings."""

import pytest

from tests.unit.settings.variables import REQUIRED
from worker.batch_reader import BatchPolicy
from worker.core.retry import RetryPolicy
from worker.settings.fields import Settings
from worker.settings.loading import load


def test_every_default_is_valid_as_a_variable() -> None:
    defaults = load(REQUIRED).model_dump(mode="json", exclude_none=True, exclude={"clickhouse_password"})
    assert load({name.upper(): str(value) for name, value in defaults.items()}) == load(REQUIRED)


def test_every_variable_is_described_in_a_sentence() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka-1:9092, kafka-2:9092", "kafka-1:9092,kafka-2:9092"),
        ("KAFKA_BOOTSTRAP_SERVERS", "[2001:db8::1]:9092", "[2001:db8::1]:9092"),
        ("CLICKHOUSE_HOST", "clickhouse.data.svc", "clickhouse.data.svc"),
        ("CLICKHOUSE_HOST", "10.0.0.1", "10.0.0.1"),
        ("CLICKHOUSE_HOST", "2001:db8::1", "2001:db8::1"),
        ("CLICKHOUSE_HOST", "ch-1, ch-2:9440,[::1]:9000", "ch-1,ch-2:9440,[::1]:9000"),
        ("HTTP_HOST", "::", "::"),
        ("LOG_LEVEL", "debug", "DEBUG"),
        ("LOG_FORMAT", "Console", "console"),
        ("KAFKA_SECURITY_PROTOCOL", "ssl", "SSL"),
    ],
)
def test_valid_values_are_normalised(name: str, value: str, expected: str) -> None:
    assert getattr(load(REQUIRED | {name: value}), name.lower()) == expected


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, 9000),
        ({"CLICKHOUSE_SECURE": "true"}, 9440),
        ({"CLICKHOUSE_SECURE": "true", "CLICKHOUSE_PORT": "9000"}, 9000),
    ],
)
def test_default_clickhouse_port_depends_on_tls(variables: dict[str, str], port: int) -> None:
    assert load(REQUIRED | variables).clickhouse_port == port


def test_policies_are_built_from_their_variables_and_have_the_same_defaults() -> None:
    defaults = load(REQUIRED)
    assert (defaults.batch, defaults.retry) == (BatchPolicy(), RetryPolicy())
    settings = load(
        REQUIRED
        | {"BATCH_MAX_EVENTS": "7", "BATCH_MAX_BYTES": "2048", "BATCH_LINGER_MS": "50"}
        | {"RETRY_ATTEMPTS": "3", "RETRY_MAX_SECONDS": "4.5"}
        | {"RETRY_FIRST_WAIT_SECONDS": "0.1", "RETRY_MAX_WAIT_SECONDS": "2"}
    )
    assert settings.batch == BatchPolicy(max_events=7, max_bytes=2048, linger_seconds=0.05)
    assert settings.retry == RetryPolicy(3, 4.5, 0.1, 2.0)
