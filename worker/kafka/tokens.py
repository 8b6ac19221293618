"""Tokens for SASL/OAUTHBEARER: where they come from, and how aiokafka asks for them."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from typing import Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from worker.core.errors import DependencyError
from worker.core.escaping import escape_control_characters
from worker.core.secrets import Secret

_WAIT_SECONDS = 12.0
_MAX_CALLS = 64
"""At the same time in a process, those that hang included."""
_calls = threading.BoundedSemaphore(_MAX_CALLS)


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
        except (Exception, SystemExit) as error:  # whatever the function of an operator raises
            reason = escape_control_characters(f"{type(error).__name__}: {error}")
            raise DependencyError(f"KAFKA_TOKEN_PROVIDER={self._name} failed: {reason}") from error
        if not isinstance(token, str) or not token:
            raise DependencyError(f"KAFKA_TOKEN_PROVIDER={self._name} returned {type(token).__name__}, not a token")
        if not (token.isascii() and token.isprintable()):
            raise DependencyError(f"KAFKA_TOKEN_PROVIDER={self._name} returned what no token has, such as a line break")
        return token


class TokenUnavailable(KafkaConnectionError):  # type: ignore[misc]  # aiokafka ships no types
    """There is no token. aiokafka treats it as any broken connection: it logs the text, and tries again later."""


class TokenAdapter(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """A `TokenProvider` as aiokafka takes it, which calls it for each connection.

    Attributes:
        returned: whether the last call has returned a token; None before the first call.
    """

    returned: bool | None = None

    def __init__(self, provider: TokenProvider) -> None:
        self._provider = provider

    async def token(self) -> str:
        """The token. Raises TokenUnavailable."""
        self.returned = False
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                token = await asyncio.wrap_future(_call_in_thread(self._provider.token))
        except DependencyError as error:
            raise TokenUnavailable(str(error)) from error
        except TimeoutError as error:
            raise TokenUnavailable(f"no token for Kafka in {_WAIT_SECONDS:g} s") from error
        self.returned = True
        return token


def _call_in_thread(call: Callable[[], str]) -> Future[str]:
    """Call it in a thread of its own. One that hangs takes no thread from other work, and delays no exit.

    Raises TokenUnavailable if too many hang.
    """
    if not _calls.acquire(blocking=False):
        raise TokenUnavailable(f"{_MAX_CALLS} calls for a token for Kafka have not returned")
    future: Future[str] = Future()
    future.set_running_or_notify_cancel()  # from now on it is given up, not cancelled

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            future.set_exception(error)
        finally:
            _calls.release()

    threading.Thread(target=run, name="token", daemon=True).start()
    return future
