"""The configuration. `load` is the only reader of the environment."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import StrEnum

from pydantic import ValidationError

from worker.core.errors import SettingsError
from worker.settings.environment import read, secret_files, unknown
from worker.settings.errors import Problem, invalid, missing, variable
from worker.settings.fields import Settings

__all__ = ["Dependency", "Settings", "find_misspelt_variables", "load"]

_FIELDS = Settings.model_fields


class Dependency(StrEnum):
    """A variable without a default that a command cannot do without."""

    KAFKA = "KAFKA_BOOTSTRAP_SERVERS"
    CLICKHOUSE = "CLICKHOUSE_HOST"


def load(environ: Mapping[str, str], needs: Collection[Dependency] = frozenset(Dependency)) -> Settings:
    """Read the settings from `environ`; other variables in it are no concern of this program.

    Args:
        environ: the variables; an empty one counts as not set.
        needs: what the command cannot do without. What would go from Kafka to ClickHouse does not need ClickHouse
            while PERSISTENCE_ENABLED is false.

    Raises:
        SettingsError: with a line for every wrong variable, in the order of the table.
    """
    values, problems = read(environ, _FIELDS)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problems += invalid(error, values, _FIELDS)
        right = {name: value for name, value in values.items() if variable(name) not in _named(problems)}
        settings = Settings.model_validate(right)
    others = [*_missing(settings, needs), *_conflicts(settings)]
    already = _named(problems)
    problems += (problem for problem in others if already.isdisjoint(problem.variables))
    if problems:
        order = [variable(name) for name in _FIELDS]
        problems.sort(key=lambda problem: order.index(problem.variables[0]))
        raise SettingsError("\n".join(problem.text for problem in problems))
    settings.come_from(secret_files(environ, _FIELDS))
    return settings


def find_misspelt_variables(environ: Mapping[str, str]) -> list[str]:
    """A sentence, without values, for each variable that looks like a misspelt one of ours."""
    return list(unknown(environ, _FIELDS))


def _named(problems: Iterable[Problem]) -> set[str]:
    return {name for problem in problems for name in problem.variables}


def _missing(settings: Settings, needs: Collection[Dependency]) -> Iterator[Problem]:
    if Dependency.KAFKA in needs and not settings.kafka_bootstrap_servers:
        yield missing(Dependency.KAFKA, _FIELDS)
    excused = Dependency.KAFKA in needs and not settings.persistence_enabled
    if Dependency.CLICKHOUSE in needs and not settings.clickhouse_host and not excused:
        yield missing(Dependency.CLICKHOUSE, _FIELDS)


def _conflicts(settings: Settings) -> Iterator[Problem]:
    """What only two variables together can tell."""
    if settings.kafka_dlq_topic == settings.kafka_topic:
        yield _conflict("KAFKA_DLQ_TOPIC", "must differ from", "KAFKA_TOPIC", settings)
    if settings.clickhouse_timeout_seconds >= settings.kafka_rebalance_timeout_seconds:
        yield _conflict("CLICKHOUSE_TIMEOUT_SECONDS", "must be less than", "KAFKA_REBALANCE_TIMEOUT_SECONDS", settings)
    if settings.retry_first_wait_seconds > settings.retry_max_wait_seconds:
        yield _conflict("RETRY_FIRST_WAIT_SECONDS", "must not be more than", "RETRY_MAX_WAIT_SECONDS", settings)
    protocol = settings.kafka_security_protocol
    secured = f"KAFKA_SECURITY_PROTOCOL={protocol}"
    sasl = ("KAFKA_SASL_MECHANISM", "KAFKA_SASL_USERNAME", "KAFKA_SASL_PASSWORD")
    needed = sasl if settings.kafka_sasl_mechanism != "OAUTHBEARER" else ("KAFKA_SASL_PASSWORD",)
    tls = ("KAFKA_SSL_CA_FILE", "KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE", "KAFKA_SSL_KEY_PASSWORD")
    if protocol.startswith("SASL_"):
        yield from _needed(needed, secured, settings)
    else:
        yield from _ignored(sasl, secured, settings)
    if protocol.endswith("SSL"):
        yield from _together(_KAFKA_TLS, settings)
    else:
        yield from _ignored(tls, secured, settings)
    if settings.clickhouse_secure:
        yield from _together(_CLICKHOUSE_TLS, settings)
    else:
        tls = ("CLICKHOUSE_CA_FILE", "CLICKHOUSE_CERT_FILE", "CLICKHOUSE_KEY_FILE", "CLICKHOUSE_KEY_PASSWORD")
        yield from _ignored(tls, "CLICKHOUSE_SECURE=false", settings)


_KAFKA_TLS = (
    ("KAFKA_SSL_CERT_FILE", "KAFKA_SSL_KEY_FILE"),
    ("KAFKA_SSL_KEY_FILE", "KAFKA_SSL_CERT_FILE"),
    ("KAFKA_SSL_KEY_PASSWORD", "KAFKA_SSL_KEY_FILE"),
)
_CLICKHOUSE_TLS = (
    ("CLICKHOUSE_CERT_FILE", "CLICKHOUSE_KEY_FILE"),
    ("CLICKHOUSE_KEY_FILE", "CLICKHOUSE_CERT_FILE"),
    ("CLICKHOUSE_KEY_PASSWORD", "CLICKHOUSE_KEY_FILE"),
)


def _together(pairs: Iterable[tuple[str, str]], settings: Settings) -> Iterator[Problem]:
    for one, other in pairs:
        if _value(one, settings):
            yield from _needed((other,), one, settings)


def _value(name: str, settings: Settings) -> object:
    return getattr(settings, name.lower())


def _conflict(name: str, relation: str, other: str, settings: Settings) -> Problem:
    one, two = (f"{value:g}" if isinstance(value := _value(n, settings), float) else value for n in (name, other))
    return Problem((name, other), f"{name}={one} {relation} {other}={two}")


def _needed(names: Iterable[str], by: str, settings: Settings) -> Iterator[Problem]:
    """A problem for each of `names` that is not set although `by` needs it."""
    for name in names:
        if not _value(name, settings):
            yield missing(name, _FIELDS, because=f", and {by} needs it", also=by.partition("=")[0])


def _ignored(names: Iterable[str], by: str, settings: Settings) -> Iterator[Problem]:
    """A problem for each of `names` that is set although `by` makes it void: whoever set it relies on it."""
    for name in names:
        if _value(name, settings):
            yield Problem((name, by.partition("=")[0]), f"{name} is set, but {by} has no use for it")
