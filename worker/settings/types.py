"""The kinds of values that a setting can have, each with the words for what would be right."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from worker.settings.errors import Expected


def _host(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", value) and not _is_ipv6(value):
        raise ValueError
    return value


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return True


def _servers(value: str) -> str:
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[(.+)\]):([0-9]{1,5})", server)
        if not match or not 1 <= int(match[2]) <= 65535 or (match[1] and not _is_ipv6(match[1])):
            raise ValueError
    return ",".join(servers)


def _readable(path: Path | None) -> Path | None:
    if path is None:
        return None
    if not path.is_file():
        raise ValueError("no such file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise ValueError(error.strerror) from error
    return path


_KAFKA_NAME = Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")  # what Kafka allows in topics and group instance ids
_KAFKA_NAME_EXPECTED = Expected("1 to 249 ASCII letters, digits, '.', '_' or '-'")
_TRIMMED = Field(pattern=r"^\S(.*\S)?$")
_TRIMMED_EXPECTED = Expected("text without white space at its ends")
_IDENTIFIER = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")
_IDENTIFIER_EXPECTED = Expected("1 to 128 ASCII letters, digits or '_', the first no digit")
_UPPER = BeforeValidator(str.upper)
_LOWER = BeforeValidator(str.lower)

Servers = Annotated[
    str,
    AfterValidator(_servers),
    Expected("host:port, or several separated by commas, such as kafka-1:9092,kafka-2:9092"),
]
Host = Annotated[
    str, AfterValidator(_host), Expected("a host name or an IP address, without scheme, port, user or brackets")
]
Port = Annotated[int, Field(ge=1, le=65535)]
Topic = Annotated[str, _KAFKA_NAME, _KAFKA_NAME_EXPECTED]
InstanceId = Annotated[str | None, _KAFKA_NAME, _KAFKA_NAME_EXPECTED]
Text = Annotated[str, _TRIMMED, _TRIMMED_EXPECTED]
OptionalText = Annotated[str | None, _TRIMMED, _TRIMMED_EXPECTED]
Identifier = Annotated[str, _IDENTIFIER, _IDENTIFIER_EXPECTED]
OptionalIdentifier = Annotated[str | None, _IDENTIFIER, _IDENTIFIER_EXPECTED]
OptionalFile = Annotated[Path | None, AfterValidator(_readable)]
SecurityProtocol = Annotated[Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"], _UPPER]
SaslMechanism = Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None, _UPPER]
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], _UPPER]
LogFormat = Annotated[Literal["json", "console"], _LOWER]
