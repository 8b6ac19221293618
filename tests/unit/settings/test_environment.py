"""Reading the environment: secrets in files, and misspelt names."""

from pathlib import Path

import pytest

from tests.unit.settings.variables import REQUIRED, SASL, load_errors
from worker.settings.environment import find_misspelt_variables, find_mistakes
from worker.settings.fields import Settings
from worker.settings.loading import load


def test_white_space_at_the_end_of_a_secret_file_is_ignored(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("  pass word \n\n")
    settings = load(REQUIRED | {"CLICKHOUSE_PASSWORD_FILE": str(file)})
    assert settings.clickhouse_password.get_secret_value() == "  pass word"


def test_every_secret_can_be_given_by_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    names = ("KAFKA_SASL_PASSWORD", "KAFKA_SSL_KEY_PASSWORD", "CLICKHOUSE_PASSWORD")
    others = {**SASL, "KAFKA_SSL_CERT_FILE": __file__, "KAFKA_SSL_KEY_FILE": __file__, "KAFKA_SASL_PASSWORD": ""}

    settings = load(REQUIRED | others | {f"{name}_FILE": str(file) for name in names})

    assert [getattr(settings, name.lower()).get_secret_value() for name in names] == ["s3cret"] * 3


def test_secret_given_directly_and_by_file_is_refused(tmp_path: Path) -> None:
    both = {"CLICKHOUSE_PASSWORD": "s3cret", "CLICKHOUSE_PASSWORD_FILE": str(tmp_path)}
    assert load_errors(**both) == ["CLICKHOUSE_PASSWORD and CLICKHOUSE_PASSWORD_FILE are both set; set only one"]


def test_unreadable_secret_file_is_named_with_the_reason(tmp_path: Path) -> None:
    binary, absent = tmp_path / "binary", tmp_path / "absent"
    binary.write_bytes(b"\xff\xfe s3cret")
    for path, reason in (
        (absent, "No such file or directory"), (tmp_path, "Is a directory"), (binary, "it is not UTF-8 text")
    ):  # fmt: skip
        assert load_errors(CLICKHOUSE_PASSWORD_FILE=str(path)) == [
            f"CLICKHOUSE_PASSWORD_FILE={str(path)!r} cannot be read: {reason}"
        ]


def test_unreadable_secret_is_not_also_reported_as_missing() -> None:
    (line,) = load_errors(**{**SASL, "KAFKA_SASL_PASSWORD": "", "KAFKA_SASL_PASSWORD_FILE": "/no/such/file"})
    assert line.startswith("KAFKA_SASL_PASSWORD_FILE=")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("CLICKHOUSE_DB", "CLICKHOUSE_DATABASE"),
        ("CLICKHOUSE_USERNAME", "CLICKHOUSE_USER"),
        ("CLICKHOUSE_PASSWORDFILE", "CLICKHOUSE_PASSWORD_FILE"),
        ("RETRY_MAX_ATTEMPTS", "RETRY_ATTEMPTS"),
        ("BATCH_LINGER", "BATCH_LINGER_MS"),
        ("SHUTDOWN_TIMEOUT", "SHUTDOWN_TIMEOUT_SECONDS"),
    ],
)
def test_misspelt_variable_is_reported_without_its_value(name: str, meant: str) -> None:
    (sentence,) = find_misspelt_variables({name: "s3cret"})
    assert sentence.startswith(f"{name} is not known; did you mean ")
    assert meant in sentence
    assert "s3cret" not in sentence


def test_file_variable_of_a_setting_that_is_no_secret_is_reported() -> None:
    assert find_misspelt_variables({"CLICKHOUSE_USER_FILE": "/user"}) == [
        "CLICKHOUSE_USER_FILE is not known: only secrets can be given by file; set CLICKHOUSE_USER"
    ]


def test_known_and_unrelated_variables_are_not_reported() -> None:
    known = [name.upper() for name in Settings.model_fields]
    files = ["KAFKA_SASL_PASSWORD_FILE", "KAFKA_SSL_KEY_PASSWORD_FILE", "CLICKHOUSE_PASSWORD_FILE"]
    service_links = [
        "KAFKA_PORT",
        "KAFKA_SERVICE_HOST",
        "KAFKA_SERVICE_PORT",
        "CLICKHOUSE_SERVICE_PORT_HTTP",
        "CLICKHOUSE_PORT_9000_TCP",
        "CLICKHOUSE_PORT_9000_TCP_ADDR",
    ]
    unrelated = ["PATH", "HTTP_PROXY", "KAFKA_OPTS", "KAFKA_HEAP_OPTS", "KAFKA_HOME", "LOG_DIR"]
    assert find_misspelt_variables(dict.fromkeys([*known, *files, *service_links, *unrelated], "x")) == []


@pytest.mark.parametrize("content", ["", " \n"])
def test_empty_secret_file_is_a_mistake_that_names_file_and_variable(tmp_path: Path, content: str) -> None:
    file = tmp_path / "password"
    file.write_text(content)
    assert find_mistakes({"CLICKHOUSE_PASSWORD_FILE": str(file)}) == [
        f"CLICKHOUSE_PASSWORD_FILE={str(file)!r} is empty: CLICKHOUSE_PASSWORD counts as not set"
    ]


def test_secret_file_with_a_secret_or_that_cannot_be_read_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret")
    assert find_mistakes({"CLICKHOUSE_PASSWORD_FILE": str(file)}) == []
    assert find_mistakes({"CLICKHOUSE_PASSWORD_FILE": "/no/such/file"}) == []
