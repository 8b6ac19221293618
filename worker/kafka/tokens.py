"""Tokens for SASL/OAUTHBEARER: where they come from, and how aiokafka asks for them."""

import asyncio
from importlib import import_module
from typing import Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from worker.core.errors import DependencyError
from worker.core.escaping import escape_control_characters
from worker.core.secrets import Secret

_WAIT_SECONDS = 12.0


class TokenProvider(Protocol):
    """Returns the token for each new connection to a broker."""

    def token(self) -> str:
        """A token that is valid now. It is called in threads, several at a time, and may wait.

        Raises DependencyError, whose text names the variable to look at.
        """


class FixedToken:
    """The token of KAFKA_SASL_PASSWORD, which another program may renew in its file."""

    def __init__(self, secret: Secret) -> None:
        self._secret = secret

    def token(self) -> str:
        """See `TokenProvider`."""
        return self._secret.reveal()


class FunctionToken:
    """The tokens of a function of the operator, `module:function`, which takes no argument and returns the text."""

    def __init__(self, name: str) -> None:
        self._name = name

    def token(self) -> str:
        """See `TokenProvider`. It calls the function for each connection, and keeps nothing."""
        module, _, function = self._name.partition(":")
        try:
            token = getattr(import_module(module), function)()
        except Exception as error:  # whatever the function of an operator raises
            reason = escape_control_characters(f"{type(error).__name__}: {error}")
            raise DependencyError(f"KAFKA_TOKEN_PROVIDER={self._name} failed: {reason}") from error
        if not isinstance(token, str) or not token:
            raise DependencyError(f"KAFKA_TOKEN_PROVIDER={self._name} returned {type(token).__name__}, not a token")
        return token


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]  # aiokafka ships no types
    """There is no token. aiokafka treats it as any broken connection: it logs the text, and tries again later."""


class TokenAdapter(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """A `TokenProvider` as aiokafka takes it, which calls it for each connection."""

    def __init__(self, provider: TokenProvider) -> None:
        self._provider = provider

    async def token(self) -> str:
        """The token. Raises TokenUnavailable."""
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                return await asyncio.to_thread(self._provider.token)
        except DependencyError as error:
            raise TokenUnavailable(str(error)) from error
        except TimeoutError as error:
            raise TokenUnavailable(f"no token for Kafka in {_WAIT_SECONDS:g} s") from error
