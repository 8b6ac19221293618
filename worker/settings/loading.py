"""Loading the settings. `load` is the only reader of the environment."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum

from pydantic import ValidationError

from worker.core.errors import SettingsError
from worker.settings.console import find_console_conflicts
from worker.settings.environment import read_environment, secret_files
from worker.settings.errors import SettingsProblem, invalid_value_problems, missing_variable_problem, variable_name
from worker.settings.fields import Settings
from worker.settings.rules import conflict, refuse_unused, require, require_certificate_and_key, value_of
from worker.settings.types import LogFormat

_KAFKA_SASL = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
_KAFKA_TOKENS = ("KAFKA_SASL_PASSWORD", "KAFKA_OAUTH_TOKEN_URL", "KAFKA_TOKEN_PROVIDER")
_KAFKA_OAUTH = (
    "KAFKA_OAUTH_CLIENT_ID",
    "KAFKA_OAUTH_CLIENT_SECRET",
    "KAFKA_OAUTH_SCOPE",
    "KAFKA_OAUTH_AUDIENCE",
    "KAFKA_OAUTH_CA_FILE",
)
_KAFKA_TLS = ("KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE", "KAFKA_SSL_KEY_PASSWORD")
_CLICKHOUSE_TLS = ("CLICKHOUSE_CA_FILE", "CLICKHOUSE_CERT_FILE", "CLICKHOUSE_KEY_FILE", "CLICKHOUSE_KEY_PASSWORD")


class RequiredVariable(StrEnum):
    """A variable without a default that a command may require."""

    KAFKA = "KAFKA_BOOTSTRAP_SERVERS"
    CLICKHOUSE = "CLICKHOUSE_HOST"


def load(environ: Mapping[str, str], needs: Collection[RequiredVariable] = frozenset(RequiredVariable)) -> Settings:
    """Read the settings from `environ`; other variables are ignored, and an empty one counts as not set.

    `needs` is what the command requires: if it is Kafka and ClickHouse, not ClickHouse while PERSISTENCE_ENABLED is
    false. Raises SettingsError with a line for every wrong variable, in the order of the table.
    """
    values, problems = read_environment(environ)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += invalid_value_problems(error, values)
        wrong = _variables_in(problems)
        settings = Settings.model_validate({name: v for name, v in values.items() if variable_name(name) not in wrong})
    wrong = _variables_in(problems)
    others = [*_find_missing(settings, needs), *_find_conflicts(settings)]
    problems += (problem for problem in others if wrong.isdisjoint(problem.variables))
    if problems:
        order = [variable_name(name) for name in Settings.model_fields]
        problems.sort(key=lambda problem: order.index(problem.variables[0]))
        raise SettingsError("\n".join(problem.text for problem in problems))
    settings.set_secret_files(secret_files(environ))
    return settings


def read_log_format(environ: Mapping[str, str]) -> LogFormat:
    """The format of log lines, also where variables are wrong; the default if LOG_FORMAT itself is."""
    try:
        return Settings.model_validate({"log_format": environ.get("LOG_FORMAT", "")}).log_format
    except ValidationError:
        return Settings.model_validate({}).log_format


def _variables_in(problems: Iterable[SettingsProblem]) -> set[str]:
    return {name for problem in problems for name in problem.variables}


def _find_missing(settings: Settings, needs: Collection[RequiredVariable]) -> Iterator[SettingsProblem]:
    if RequiredVariable.KAFKA in needs and not settings.kafka_bootstrap_servers:
        yield missing_variable_problem(RequiredVariable.KAFKA)
    writes_nothing = RequiredVariable.KAFKA in needs and not settings.persistence_enabled
    if RequiredVariable.CLICKHOUSE in needs and not settings.clickhouse_host and not writes_nothing:
        yield missing_variable_problem(RequiredVariable.CLICKHOUSE)


def _find_conflicts(settings: Settings) -> Iterator[SettingsProblem]:
    """Problems of two variables whose values do not fit together."""
    if settings.kafka_dlq_topic == settings.kafka_topic:
        yield conflict("KAFKA_DLQ_TOPIC", "must differ from", "KAFKA_TOPIC", settings)
    if settings.clickhouse_timeout_seconds >= settings.kafka_rebalance_timeout_seconds:
        yield conflict("CLICKHOUSE_TIMEOUT_SECONDS", "must be less than", "KAFKA_REBALANCE_TIMEOUT_SECONDS", settings)
    if settings.retry_first_wait_seconds > settings.retry_max_wait_seconds:
        yield conflict("RETRY_FIRST_WAIT_SECONDS", "must not be more than", "RETRY_MAX_WAIT_SECONDS", settings)
    protocol = settings.kafka_security_protocol
    condition = f"KAFKA_SECURITY_PROTOCOL={protocol}"
    if protocol.startswith("SASL_") and settings.kafka_sasl_mechanism == "OAUTHBEARER":
        yield from _find_token_conflicts(settings)
    elif protocol.startswith("SASL_"):
        yield from require(_KAFKA_SASL, condition, settings)
        mechanism = f"KAFKA_SASL_MECHANISM={settings.kafka_sasl_mechanism}"
        yield from refuse_unused((*_KAFKA_TOKENS[1:], *_KAFKA_OAUTH), mechanism, settings)
    else:
        yield from refuse_unused((*_KAFKA_SASL, *_KAFKA_TOKENS[1:], *_KAFKA_OAUTH), condition, settings)
    if protocol.endswith("SSL"):
        yield from require_certificate_and_key(*_KAFKA_TLS[1:], settings)
    else:
        yield from refuse_unused(_KAFKA_TLS, condition, settings)
    if settings.clickhouse_secure:
        yield from require_certificate_and_key(*_CLICKHOUSE_TLS[1:], settings)
    else:
        yield from refuse_unused(_CLICKHOUSE_TLS, "CLICKHOUSE_SECURE=false", settings)
    yield from find_console_conflicts(settings)


def _find_token_conflicts(settings: Settings) -> Iterator[SettingsProblem]:
    """Problems of the variables of OAUTHBEARER: there must be one source of tokens, with all that it needs."""
    condition = "KAFKA_SASL_MECHANISM=OAUTHBEARER"
    sources = [name for name in _KAFKA_TOKENS if value_of(name, settings)]
    if not sources:
        because = f" (nor {' or '.join(_KAFKA_TOKENS[1:])}), and {condition} needs one of them"
        problem = missing_variable_problem(_KAFKA_TOKENS[0], because)
        yield problem._replace(variables=(*_KAFKA_TOKENS, "KAFKA_SASL_MECHANISM"))
    elif len(sources) > 1:
        yield SettingsProblem(tuple(sources), f"{' and '.join(sources)} are set; set only one, the source of tokens")
    elif settings.kafka_oauth_token_url:
        yield from require(_KAFKA_OAUTH[:2], "KAFKA_OAUTH_TOKEN_URL", settings)
    else:
        yield from refuse_unused(_KAFKA_OAUTH, f"{sources[0]} in place of KAFKA_OAUTH_TOKEN_URL", settings)
