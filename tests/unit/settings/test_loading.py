"""Loading settings: what a command needs, and an error that names every wrong variable and no secret."""

from pathlib import Path

import pytest

from tests.unit.settings.variables import REQUIRED, SASL, load_errors
from worker.core.errors import SettingsError
from worker.settings.loading import RequiredVariable, load, read_log_format
from worker.settings.targets import kafka_target


@pytest.mark.parametrize(
    "variables",
    [
        {"KAFKA_TOPIC": "", "RETRY_ATTEMPTS": "", "CLICKHOUSE_PASSWORD": ""},
        {"PATH": "/bin", "KAFKA_OPTS": "x", "kafka_topic": "lower-case"},
    ],
    ids=["empty", "unrelated"],
)
def test_empty_and_unrelated_variables_are_ignored(variables: dict[str, str]) -> None:
    assert load(REQUIRED | variables) == load(REQUIRED)


def test_only_the_given_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", "from-the-process")
    assert load(REQUIRED).kafka_topic == "execution-completed"


def test_missing_required_variables_are_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load({})
    lines = str(caught.value).splitlines()
    assert [line.partition(" is not set; it must be ")[0] for line in lines] == list(RequiredVariable)
    assert "such as kafka-1:9092,kafka-2:9092" in lines[0]


def test_command_needs_only_its_own_dependencies() -> None:
    assert load({"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}, [RequiredVariable.KAFKA]).clickhouse_host == ""
    assert load({"CLICKHOUSE_HOST": "clickhouse"}, [RequiredVariable.CLICKHOUSE]).kafka_bootstrap_servers == ""


def test_run_without_persistence_does_not_need_clickhouse() -> None:
    off = {"PERSISTENCE_ENABLED": "false"}
    assert not load({"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"} | off).persistence_enabled
    with pytest.raises(SettingsError, match="CLICKHOUSE_HOST"):
        load(off, [RequiredVariable.CLICKHOUSE])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka", "host:port, or several separated by commas"),
        ("KAFKA_BOOTSTRAP_SERVERS", "PLAINTEXT://kafka:9092", "host:port"),
        ("KAFKA_BOOTSTRAP_SERVERS", "kafka:99999", "host:port"),
        ("KAFKA_TOPIC", "a topic", "1 to 249 ASCII letters, digits, '.', '_' or '-'"),
        ("KAFKA_TOPIC", "x" * 250, "1 to 249"),
        ("KAFKA_GROUP_ID", " padded ", "text without white space at its ends"),
        ("KAFKA_GROUP_INSTANCE_ID", "a/b", "1 to 249"),
        ("KAFKA_PRODUCER_IDEMPOTENCE", "perhaps", "true or false"),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"),
        ("KAFKA_SESSION_TIMEOUT_SECONDS", "0", "a number from 1 to 1800"),
        ("CLICKHOUSE_HOST", "a,b..c", "a host name or an IP address, without scheme"),
        ("CLICKHOUSE_HOST", "http://clickhouse", "a host name or an IP address, without scheme"),
        ("CLICKHOUSE_HOST", "ch-1,ch-2:0", "a host name or an IP address"),
        ("CLICKHOUSE_HOST", "ch-1,,ch-2", "a host name or an IP address"),
        ("CLICKHOUSE_HOST", "ch-1, ch-1", "a host name or an IP address"),
        ("CLICKHOUSE_PORT", "0", "a whole number from 1 to 65535"),
        ("CLICKHOUSE_TABLE", "t; DROP TABLE t", "1 to 128 ASCII letters, digits or '_', the first no digit"),
        ("CLICKHOUSE_CA_FILE", "/no/such/file", "the path of a file that can be read (no such file)"),
        ("CLICKHOUSE_RETENTION_DAYS", "-1", "a whole number from 0 to 36500"),
        ("BATCH_MAX_EVENTS", "many", "a whole number from 1 to 1000000"),
        ("RETRY_ATTEMPTS", "1.5", "a whole number from 1 to 1000"),
        ("RETRY_MAX_SECONDS", "nan", "a number from 0 to 3600"),
        ("RETRY_MAX_SECONDS", "inf", "a number from 0 to 3600"),
        ("ON_UNAVAILABLE", "drop", "dead_letter or hold"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_invalid_value_is_named_with_what_would_be_right(name: str, value: str, expected: str) -> None:
    (line,) = load_errors(**{name: value})
    assert line.startswith(f"{name}={value[:90]!r}"[:90])
    assert f"must be {expected}" in line


def test_all_wrong_variables_are_named_in_the_order_of_the_table(tmp_path: Path) -> None:
    lines = load_errors(
        SHUTDOWN_TIMEOUT_SECONDS="soon",
        CLICKHOUSE_PASSWORD_FILE=str(tmp_path / "absent"),
        KAFKA_DLQ_TOPIC="execution-completed",
        CLICKHOUSE_HOST="",
        BATCH_LINGER_MS="-1",
    )
    assert [line.replace("=", " ").split()[0] for line in lines] == [
        "KAFKA_DLQ_TOPIC",
        "CLICKHOUSE_HOST",
        "CLICKHOUSE_PASSWORD_FILE",
        "BATCH_LINGER_MS",
        "SHUTDOWN_TIMEOUT_SECONDS",
    ]


def test_invalid_value_is_shortened_to_one_line() -> None:
    (line,) = load_errors(KAFKA_TOPIC="first\nsecond\u2028" + "x" * 10_000)
    assert "first\\nsecond\\u2028xxx" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "value", "service"),
    [
        ("CLICKHOUSE_PORT", "tcp://10.0.0.1:9000", "clickhouse"),
        ("HTTP_PORT", "tcp://10.0.0.1:80", "http"),
    ],
)
def test_value_that_kubernetes_set_for_a_service_is_explained(name: str, value: str, service: str) -> None:
    (line,) = load_errors(**{name: value})
    assert f"{name}={value!r}" in line
    assert "enableServiceLinks: false" in line
    assert f"Service named '{service}'" in line


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"KAFKA_DLQ_TOPIC": "t", "KAFKA_TOPIC": "t"}, ["KAFKA_DLQ_TOPIC=t must differ from KAFKA_TOPIC=t"]),
        (
            {"CLICKHOUSE_TIMEOUT_SECONDS": "60"},
            ["CLICKHOUSE_TIMEOUT_SECONDS=60 must be less than KAFKA_REBALANCE_TIMEOUT_SECONDS=60"],
        ),
        (
            {"RETRY_FIRST_WAIT_SECONDS": "20"},
            ["RETRY_FIRST_WAIT_SECONDS=20 must not be more than RETRY_MAX_WAIT_SECONDS=10"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_USERNAME": "worker"},
            [
                "KAFKA_SASL_MECHANISM is not set, and KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it; it must be PLAIN, ",
                "KAFKA_SASL_PASSWORD is not set, and KAFKA_SECURITY_PROTOCOL=SASL_SSL needs it; it must be any text",
            ],
        ),
        (
            {"KAFKA_SASL_PASSWORD": "s3cret"},
            ["KAFKA_SASL_PASSWORD is set, but has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"],
        ),
        (
            {"CLICKHOUSE_CA_FILE": __file__},
            ["CLICKHOUSE_CA_FILE is set, but has no effect with CLICKHOUSE_SECURE=false"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CERT_FILE": __file__},
            ["KAFKA_SSL_KEY_FILE is not set, and KAFKA_SSL_CERT_FILE needs it; "],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_FILE": __file__},
            ["KAFKA_SSL_CERT_FILE is not set, and KAFKA_SSL_KEY_FILE needs it; "],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_KEY_PASSWORD": "s3cret"},
            ["KAFKA_SSL_KEY_FILE is not set, and KAFKA_SSL_KEY_PASSWORD needs it; "],
        ),
    ],
)
def test_conflicting_variables_are_named(variables: dict[str, str], expected: list[str]) -> None:
    lines = load_errors(**variables)
    assert len(lines) == len(expected)
    assert all(line.startswith(beginning) for line, beginning in zip(lines, expected, strict=True)), lines


def test_invalid_variable_is_not_also_reported_as_a_conflict() -> None:
    (line,) = load_errors(CLICKHOUSE_TIMEOUT_SECONDS="40 s", KAFKA_REBALANCE_TIMEOUT_SECONDS="20")
    assert line.startswith("CLICKHOUSE_TIMEOUT_SECONDS='40 s'")


@pytest.mark.parametrize(
    "variables",
    [
        {"CLICKHOUSE_HOST": "clickhouse://worker:s3cret@host:9000"},
        {"CLICKHOUSE_HOST": "::worker:s3cret@host"},
        {"KAFKA_BOOTSTRAP_SERVERS": "SASL://worker:s3cret@kafka:9092,SASL://worker:s3cret@kafka-2:9092"},
        {"CLICKHOUSE_USER": "worker:s3cret@host "},
        {"CLICKHOUSE_PORT": "tcp://worker:s3cret@10.0.0.1:9000"},
        {"KAFKA_SASL_PASSWORD": "s3cret"},
        SASL | {"KAFKA_SASL_USERNAME": ""},
        SASL | {"KAFKA_SASL_PASSWORD_FILE": __file__},
    ],
)
def test_error_shows_no_secret(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(REQUIRED | variables)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a traceback shows what an error was raised from


@pytest.mark.parametrize(
    ("value", "log_format"), [("console", "console"), ("JSON", "json"), ("", "json"), ("xml", "json")]
)
def test_log_format_is_known_also_where_variables_are_wrong(value: str, log_format: str) -> None:
    assert read_log_format({"LOG_FORMAT": value, "CLICKHOUSE_PORT": "none"}) == log_format
    assert read_log_format({}) == "json"


TOKENS = {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"}
ENDPOINT = TOKENS | {
    "KAFKA_OAUTH_TOKEN_URL": "https://login.example.org/token",
    "KAFKA_OAUTH_CLIENT_ID": "worker",
    "KAFKA_OAUTH_CLIENT_SECRET": "s3cret",
}


@pytest.mark.parametrize(
    ("variables", "problems"),
    [
        (ENDPOINT, []),
        (TOKENS | {"KAFKA_TOKEN_PROVIDER": "os.path:basename"}, []),
        (TOKENS, ["KAFKA_SASL_PASSWORD is not set (nor KAFKA_OAUTH_TOKEN_URL or KAFKA_TOKEN_PROVIDER)"]),
        (
            ENDPOINT | {"KAFKA_SASL_PASSWORD": "s3cret"},
            ["KAFKA_SASL_PASSWORD and KAFKA_OAUTH_TOKEN_URL are set; set only one"],
        ),
        (ENDPOINT | {"KAFKA_OAUTH_CLIENT_SECRET": ""}, ["KAFKA_OAUTH_CLIENT_SECRET is not set, and KAFKA_OAUTH_TOKEN"]),
        (
            TOKENS | {"KAFKA_SASL_PASSWORD": "s3cret", "KAFKA_OAUTH_SCOPE": "kafka"},
            ["KAFKA_OAUTH_SCOPE is set, but has no effect with KAFKA_SASL_PASSWORD in place of KAFKA_OAUTH_TOKEN_URL"],
        ),
        (
            SASL | {"KAFKA_OAUTH_CLIENT_ID": "worker"},
            ["KAFKA_OAUTH_CLIENT_ID is set, but has no effect with KAFKA_SASL_MECHANISM=SCRAM-SHA-512"],
        ),
        (
            {"KAFKA_TOKEN_PROVIDER": "os.path:basename"},
            ["KAFKA_TOKEN_PROVIDER is set, but has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT"],
        ),
        (
            ENDPOINT | {"KAFKA_OAUTH_TOKEN_URL": "https://a..b/"},
            ["KAFKA_OAUTH_TOKEN_URL='https://a..b/' must be a URL"],
        ),
        (
            ENDPOINT | {"KAFKA_OAUTH_TOKEN_URL": "https://worker:s3cret@host/"},
            ["KAFKA_OAUTH_TOKEN_URL='(secret)@host/'"],
        ),
        (ENDPOINT | {"KAFKA_OAUTH_TOKEN_URL": "file:///etc/passwd"}, ["KAFKA_OAUTH_TOKEN_URL='file:///etc/passwd'"]),
        (
            TOKENS | {"KAFKA_TOKEN_PROVIDER": "no_such_module:token"},
            ["KAFKA_TOKEN_PROVIDER='no_such_module:token' must be module:function"],
        ),
    ],
)
def test_tokens_have_one_source_with_all_that_it_needs(variables: dict[str, str], problems: list[str]) -> None:
    lines = load_errors(**variables) if problems else []
    assert [line[: len(problem)] for line, problem in zip(lines, problems, strict=True)] == problems
    assert "s3cret" not in "".join(lines)
    if not problems:
        assert kafka_target(load(REQUIRED | variables)) is kafka_target(load(REQUIRED | variables))
