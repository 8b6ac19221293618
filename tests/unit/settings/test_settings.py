"""Every variable has bounds and says what would be right; no secret is ever shown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from worker.core.errors import SettingsError
from worker.core.retry import RetryPolicy
from worker.events.batch_policy import BatchPolicy
from worker.settings.loading import Dependency, Settings, find_misspelt_variables, load
from worker.settings.table import BEGIN, END, THEMES, render_tables, replace_tables
from worker.writing.writer import OnUnavailable

CONFIGURATION = Path(__file__).parents[3] / "deploy" / "CONFIGURATION.md"

REQUIRED = {"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092", "CLICKHOUSE_HOST": "clickhouse"}
SASL = {
    "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "KAFKA_SASL_USERNAME": "worker",
    "KAFKA_SASL_PASSWORD": "s3cret",
}


def wrong(**variables: str) -> list[str]:
    """What is said of these variables, one line each."""
    with pytest.raises(SettingsError) as caught:
        load(REQUIRED | variables)
    return str(caught.value).splitlines()


# Defaults and values


def test_two_variables_are_enough() -> None:
    settings = load(REQUIRED)

    assert settings.kafka_bootstrap_servers == "kafka:9092"
    assert settings.kafka_topic == "execution-completed"
    assert settings.kafka_dlq_topic == "execution-completed.dlq"
    assert settings.kafka_group_id == "metrics-worker"
    assert settings.kafka_producer_idempotence
    assert settings.clickhouse_table == "execution_metrics"
    assert settings.persistence_enabled
    assert settings.on_unavailable is OnUnavailable.DEAD_LETTER
    assert settings.batch == BatchPolicy()
    assert settings.retry == RetryPolicy()


def test_every_default_is_a_value_that_could_be_given() -> None:
    defaults = load(REQUIRED).model_dump(mode="json", exclude_none=True, exclude={"clickhouse_password"})

    assert load({name.upper(): str(value) for name, value in defaults.items()}) == load(REQUIRED)


def test_every_variable_has_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_policies_are_made_of_their_variables() -> None:
    settings = load(
        REQUIRED
        | {"BATCH_MAX_EVENTS": "7", "BATCH_MAX_BYTES": "2048", "BATCH_LINGER_MS": "50"}
        | {"RETRY_ATTEMPTS": "3", "RETRY_MAX_SECONDS": "4.5"}
        | {"RETRY_FIRST_WAIT_SECONDS": "0.1", "RETRY_MAX_WAIT_SECONDS": "2"}
    )

    assert settings.batch == BatchPolicy(max_events=7, max_bytes=2048, linger_seconds=0.05)
    assert settings.retry == RetryPolicy(3, 4.5, 0.1, 2.0)


def test_settings_do_not_change() -> None:
    settings = load(REQUIRED)

    with pytest.raises(ValueError, match="frozen"):
        settings.kafka_topic = "another"


def test_an_empty_variable_is_not_set() -> None:
    assert load(REQUIRED | {"KAFKA_TOPIC": "", "RETRY_ATTEMPTS": "", "CLICKHOUSE_PASSWORD": ""}) == load(REQUIRED)


def test_other_variables_are_no_concern_of_ours() -> None:
    assert load(REQUIRED | {"PATH": "/bin", "KAFKA_OPTS": "x", "kafka_topic": "lower-case"}) == load(REQUIRED)


def test_the_process_environment_is_not_read_behind_the_back_of_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_TOPIC", "from-the-process")

    assert load(REQUIRED).kafka_topic == "execution-completed"


@pytest.mark.parametrize(
    ("variables", "port"),
    [
        ({}, 9000),
        ({"CLICKHOUSE_SECURE": "true"}, 9440),
        ({"CLICKHOUSE_SECURE": "true", "CLICKHOUSE_PORT": "9000"}, 9000),
    ],
)
def test_the_port_follows_tls_unless_it_is_given(variables: dict[str, str], port: int) -> None:
    assert load(REQUIRED | variables).clickhouse_port == port


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("kafka-1:9092,kafka-2:9092", "kafka-1:9092,kafka-2:9092"),
        ("kafka-1:9092, kafka-2:9092", "kafka-1:9092,kafka-2:9092"),
        ("[2001:db8::1]:9092", "[2001:db8::1]:9092"),
    ],
)
def test_bootstrap_servers(given: str, read: str) -> None:
    assert load(REQUIRED | {"KAFKA_BOOTSTRAP_SERVERS": given}).kafka_bootstrap_servers == read


@pytest.mark.parametrize("host", ["clickhouse.data.svc", "10.0.0.1", "2001:db8::1", "::"])
def test_hosts(host: str) -> None:
    assert load(REQUIRED | {"CLICKHOUSE_HOST": host}).clickhouse_host == host


def test_the_case_of_choices_does_not_matter() -> None:
    settings = load(REQUIRED | {"LOG_LEVEL": "debug", "LOG_FORMAT": "Console", "KAFKA_SECURITY_PROTOCOL": "ssl"})

    assert (settings.log_level, settings.log_format, settings.kafka_security_protocol) == ("DEBUG", "console", "SSL")


# What a command needs


def test_without_the_required_variables_both_are_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load({})

    lines = str(caught.value).splitlines()
    assert [line.partition(" is not set; it must be ")[0] for line in lines] == list(Dependency)
    assert "such as kafka-1:9092,kafka-2:9092" in lines[0]


def test_a_command_names_only_what_it_needs() -> None:
    assert load({"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"}, [Dependency.KAFKA]).clickhouse_host == ""
    assert load({"CLICKHOUSE_HOST": "clickhouse"}, [Dependency.CLICKHOUSE]).kafka_bootstrap_servers == ""


def test_nothing_is_written_so_no_clickhouse_is_needed() -> None:
    off = {"PERSISTENCE_ENABLED": "false"}

    assert not load({"KAFKA_BOOTSTRAP_SERVERS": "kafka:9092"} | off).persistence_enabled
    with pytest.raises(SettingsError, match="CLICKHOUSE_HOST"):
        load(off, [Dependency.CLICKHOUSE])


# Wrong values


@pytest.mark.parametrize(
    ("name", "value", "right"),
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
        ("CLICKHOUSE_HOST", "http://clickhouse", "a host name or an IP address, without scheme"),
        ("CLICKHOUSE_HOST", "clickhouse:9000", "a host name or an IP address"),
        ("CLICKHOUSE_PORT", "0", "a whole number from 1 to 65535"),
        ("CLICKHOUSE_TABLE", "t; DROP TABLE t", "1 to 128 ASCII letters, digits or '_', the first no digit"),
        ("CLICKHOUSE_WRITERS", "33", "a whole number from 1 to 32"),
        ("CLICKHOUSE_CA_FILE", "/no/such/file", "the path of a file that can be read (no such file)"),
        ("BATCH_MAX_EVENTS", "many", "a whole number from 1 to 1000000"),
        ("BATCH_MAX_BYTES", "8 MiB", "a whole number from 1024 to 1073741824"),
        ("RETRY_ATTEMPTS", "1.5", "a whole number from 1 to 1000"),
        ("RETRY_MAX_SECONDS", "nan", "a number from 0 to 3600"),
        ("RETRY_MAX_SECONDS", "inf", "a number from 0 to 3600"),
        ("ON_UNAVAILABLE", "drop", "dead_letter or hold"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR"),
    ],
)
def test_a_wrong_value_says_what_would_be_right(name: str, value: str, right: str) -> None:
    (line,) = wrong(**{name: value})

    assert line.startswith(f"{name}={value[:90]!r}"[:90])
    assert f"must be {right}" in line


def test_all_wrong_variables_are_named_at_once_in_the_order_of_the_table(tmp_path: Path) -> None:
    lines = wrong(
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


def test_a_wrong_value_is_shown_on_one_line_and_not_at_length() -> None:
    (line,) = wrong(KAFKA_TOPIC="first\nsecond\u2028" + "x" * 10_000)

    assert "first\\nsecond\\u2028xxx" in line
    assert len(line) < 300


@pytest.mark.parametrize(
    ("name", "value", "service"),
    [
        ("CLICKHOUSE_PORT", "tcp://10.0.0.1:9000", "clickhouse"),
        ("HTTP_PORT", "tcp://10.0.0.1:80", "http"),
    ],
)
def test_what_kubernetes_sets_for_a_service_is_recognised(name: str, value: str, service: str) -> None:
    (line,) = wrong(**{name: value})

    assert f"{name}={value!r}" in line
    assert "enableServiceLinks: false" in line
    assert f"Service named '{service}'" in line


# Values that only together are wrong


@pytest.mark.parametrize(
    ("variables", "said"),
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
            ["KAFKA_SASL_PASSWORD is set, but KAFKA_SECURITY_PROTOCOL=PLAINTEXT has no use for it"],
        ),
        (
            {"CLICKHOUSE_CA_FILE": __file__},
            ["CLICKHOUSE_CA_FILE is set, but CLICKHOUSE_SECURE=false has no use for it"],
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
def test_values_are_compared(variables: dict[str, str], said: list[str]) -> None:
    lines = wrong(**variables)

    assert len(lines) == len(said)
    for line, beginning in zip(lines, said, strict=True):
        assert line.startswith(beginning)


def test_a_wrong_variable_is_not_compared_as_well() -> None:
    (line,) = wrong(CLICKHOUSE_TIMEOUT_SECONDS="40 s", KAFKA_REBALANCE_TIMEOUT_SECONDS="20")

    assert line.startswith("CLICKHOUSE_TIMEOUT_SECONDS='40 s'")


def test_a_complete_sasl_configuration_with_a_client_certificate() -> None:
    settings = load(REQUIRED | SASL | dict.fromkeys(("KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE"), __file__))

    assert settings.kafka_sasl_mechanism == "SCRAM-SHA-512"
    assert settings.kafka_ssl_key_file == Path(__file__)


# Secrets


def test_a_secret_in_a_file_ends_where_its_text_ends(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("  pass word \n\n")

    settings = load(REQUIRED | {"CLICKHOUSE_PASSWORD_FILE": str(file)})

    assert settings.clickhouse_password.get_secret_value() == "  pass word"


def test_every_secret_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    names = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD", "CLICKHOUSE_PASSWORD")
    others = {**SASL, "KAFKA_SSL_CERT_FILE": __file__, "KAFKA_SSL_KEY_FILE": __file__, "KAFKA_SASL_PASSWORD": ""}

    settings = load(REQUIRED | others | {f"{name}_FILE": str(file) for name in names})

    for name in names:
        assert getattr(settings, name.lower()).get_secret_value() == "s3cret"


def test_a_secret_cannot_be_given_twice(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file")

    both = {"CLICKHOUSE_PASSWORD": "s3cret", "CLICKHOUSE_PASSWORD_FILE": str(file)}

    assert wrong(**both) == ["CLICKHOUSE_PASSWORD and CLICKHOUSE_PASSWORD_FILE are both set; one of them must go"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe s3cret")

    absent = tmp_path / "absent"
    assert wrong(CLICKHOUSE_PASSWORD_FILE=str(absent)) == [
        f"CLICKHOUSE_PASSWORD_FILE={str(absent)!r} cannot be read: No such file or directory"
    ]
    assert wrong(CLICKHOUSE_PASSWORD_FILE=str(tmp_path)) == [
        f"CLICKHOUSE_PASSWORD_FILE={str(tmp_path)!r} cannot be read: Is a directory"
    ]
    assert wrong(CLICKHOUSE_PASSWORD_FILE=str(binary)) == [
        f"CLICKHOUSE_PASSWORD_FILE={str(binary)!r} cannot be read: it is not UTF-8 text"
    ]


def test_an_unreadable_secret_does_not_count_as_missing_too() -> None:
    (line,) = wrong(**{**SASL, "KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": "/no/such/file"})

    assert line.startswith("KAFKA_SASL_PASSWORD_FILE=")


def test_secrets_do_not_show_in_settings() -> None:
    settings = load(REQUIRED | SASL | {"CLICKHOUSE_PASSWORD": "s3cret"})

    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "variables",
    [
        {"CLICKHOUSE_HOST": "clickhouse://worker:s3cret@host:9000"},
        {"CLICKHOUSE_HOST": "worker:s3cret@host"},
        {"CLICKHOUSE_HOST": "::worker:s3cret@host"},
        {"KAFKA_BOOTSTRAP_SERVERS": "SASL://worker:s3cret@kafka:9092,SASL://worker:s3cret@kafka-2:9092"},
        {"CLICKHOUSE_USER": "worker:s3cret@host "},
        {"CLICKHOUSE_PORT": "tcp://worker:s3cret@10.0.0.1:9000"},
        {"KAFKA_SASL_PASSWORD": "s3cret"},
        SASL | {"KAFKA_SASL_USERNAME": ""},
        SASL | {"KAFKA_SASL_PASSWORD_FILE": __file__},
    ],
)
def test_no_error_shows_a_secret(variables: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(REQUIRED | variables)

    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None  # a traceback shows what an error was raised from


# Misspelt variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("KAFKA_TOPICS", "KAFKA_TOPIC"),
        ("CLICKHOUSE_DB", "CLICKHOUSE_DATABASE"),
        ("CLICKHOUSE_USERNAME", "CLICKHOUSE_USER"),
        ("CLICKHOUSE_PASSWORT", "CLICKHOUSE_PASSWORD"),
        ("CLICKHOUSE_PASSWORDFILE", "CLICKHOUSE_PASSWORD_FILE"),
        ("RETRY_MAX_ATTEMPTS", "RETRY_ATTEMPTS"),
        ("BATCH_LINGER", "BATCH_LINGER_MS"),
        ("SHUTDOWN_TIMEOUT", "SHUTDOWN_TIMEOUT_SECONDS"),
    ],
)
def test_a_misspelt_variable_is_noticed(name: str, meant: str) -> None:
    (sentence,) = find_misspelt_variables({name: "s3cret"})

    assert sentence.startswith(f"{name} is not known; did you mean ")
    assert meant in sentence
    assert "s3cret" not in sentence


def test_a_file_for_what_is_no_secret_is_noticed() -> None:
    assert find_misspelt_variables({"CLICKHOUSE_USER_FILE": "/user"}) == [
        "CLICKHOUSE_USER_FILE is not known: only secrets can be given by file; set CLICKHOUSE_USER"
    ]


def test_what_is_known_or_not_meant_for_us_is_not_noticed() -> None:
    ours = [name.upper() for name in Settings.model_fields]
    files = ["KAFKA_SASL_PASSWORD_FILE", "KAFKA_SSL_KEY_PASSWORD_FILE", "CLICKHOUSE_PASSWORD_FILE"]
    of_services = [
        "KAFKA_PORT",
        "KAFKA_SERVICE_HOST",
        "KAFKA_SERVICE_PORT",
        "CLICKHOUSE_SERVICE_PORT_HTTP",
        "CLICKHOUSE_PORT_9000_TCP",
        "CLICKHOUSE_PORT_9000_TCP_ADDR",
    ]
    others = ["PATH", "HTTP_PROXY", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_HOME", "LOG_DIR"]

    assert find_misspelt_variables(dict.fromkeys([*ours, *files, *of_services, *others], "x")) == []


# Policies


@pytest.mark.parametrize("limits", [(0, 1, 0.0), (1, 0, 0.0), (1, 1, -0.1), (1, 1, float("nan")), (1, 1, float("inf"))])
def test_a_batch_has_limits(limits: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        BatchPolicy(*limits)


# The tables


def rows_of_tables() -> list[str]:
    return [line for line in render_tables().splitlines() if line.startswith("| `")]


def test_the_tables_have_a_row_for_every_variable() -> None:
    rows = rows_of_tables()

    assert [row.split("`")[1] for row in rows] == [name.upper() for name in Settings.model_fields]
    assert all(row.count("|") == 5 for row in rows)


def test_every_theme_is_a_heading() -> None:
    assert re.findall("^## (.*)$", render_tables(), re.MULTILINE) == list(THEMES.values())


def test_the_tables_say_which_variables_are_required_and_which_may_be_files() -> None:
    rows = {row.split("`")[1]: row for row in rows_of_tables()}

    assert "| **required** |" in rows["CLICKHOUSE_HOST"]
    assert "(also `CLICKHOUSE_PASSWORD_FILE`)" in rows["CLICKHOUSE_PASSWORD"]
    assert "| 9000; 9440 with CLICKHOUSE_SECURE |" in rows["CLICKHOUSE_PORT"]
    assert "| `true` |" in rows["PERSISTENCE_ENABLED"]
    assert "| `8388608` |" in rows["BATCH_MAX_BYTES"]
    assert "| `dead_letter` |" in rows["ON_UNAVAILABLE"]


def test_the_tables_go_between_their_markers() -> None:
    assert (
        replace_tables(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{BEGIN}\n{render_tables()}\n{END}\nafter\n"
    )
    with pytest.raises(ValueError, match="settings:begin"):
        replace_tables("no markers")


def test_the_configuration_page_has_the_tables() -> None:
    page = CONFIGURATION.read_text(encoding="utf-8")

    assert replace_tables(page) == page, "run: python -m worker.settings.table deploy/CONFIGURATION.md"
