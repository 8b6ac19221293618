"""Tokens of a function of the operator, and how aiokafka learns that there is none."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError

from worker.core.errors import DependencyError
from worker.core.secrets import Secret
from worker.kafka import tokens
from worker.kafka.connection import _token_problem
from worker.kafka.target import KafkaTarget
from worker.kafka.tokens import FixedToken, FunctionToken, TokenAdapter

_SIGNER = """
region = "eu-central-1"
made = []

def token():
    made.append(region)
    return f"signed-for-{region}-{len(made)}"

def nothing(): return None
def failing(): raise RuntimeError("no credentials\\x1b")
def exiting(): raise SystemExit(1)
def line(): return "signed\\n"
"""
"""Stands for a module around aws-msk-iam-sasl-signer-python, whose boto3 is too large for these tests."""


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module on the path."""
    (tmp_path / "signer_of_this_test.py").write_text(_SIGNER)
    monkeypatch.syspath_prepend(tmp_path)
    return "signer_of_this_test"


async def test_function_is_called_for_each_connection(signer: str) -> None:
    target = KafkaTarget("kafka:9092", sasl_mechanism="OAUTHBEARER", token_provider=FunctionToken(f"{signer}:token"))
    provider = target.options()["sasl_oauth_token_provider"]
    assert [await provider.token(), await provider.token()] == [
        "signed-for-eu-central-1-1",
        "signed-for-eu-central-1-2",
    ]


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("nothing", "returned NoneType, not a token"),
        ("failing", "failed: RuntimeError: no credentials\\x1b"),
        ("missing", "failed: AttributeError"),
        ("exiting", "failed: SystemExit: 1"),
        ("line", "returned what no token has, such as a line break"),
    ],
)
def test_function_without_a_token_is_named(signer: str, function: str, problem: str) -> None:
    with pytest.raises(DependencyError) as caught:
        FunctionToken(f"{signer}:{function}").token()
    assert str(caught.value).startswith(f"KAFKA_TOKEN_PROVIDER={signer}:{function} {problem}")


async def test_missing_token_is_a_broken_connection_for_aiokafka(signer: str) -> None:
    with pytest.raises(KafkaConnectionError, match="KAFKA_TOKEN_PROVIDER"):
        await TokenAdapter(FunctionToken(f"{signer}:failing")).token()


async def test_fixed_token_is_that_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc\n")
    adapter = TokenAdapter(FixedToken(Secret("", file)))
    assert await adapter.token() == "abc"
    file.write_text("def\n")
    assert await adapter.token() == "def"


class Hanging:
    """A provider whose calls return when `ended` is set."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def token(self) -> str:
        self.ended.wait(10)
        return "late"


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """It is given up at once."""
    monkeypatch.setattr(tokens, "_WAIT_SECONDS", 0.05)
    hanging = Hanging()
    yield hanging
    hanging.ended.set()
    for thread in threading.enumerate():
        if thread.name == "token":
            thread.join()


async def test_functions_that_hang_are_given_up_and_stop_no_other_work(hanging: Hanging) -> None:
    adapter = TokenAdapter(hanging)
    calls = await asyncio.gather(*(adapter.token() for _ in range(40)), return_exceptions=True)
    assert {str(error) for error in calls} == {"TokenUnavailable: no token for Kafka in 0.05 s"}
    assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 5) == "done"
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "token")


async def test_broker_is_not_blamed_for_a_token_that_never_came(hanging: Hanging) -> None:
    target = KafkaTarget("kafka:9092", sasl_mechanism="OAUTHBEARER")
    adapter = TokenAdapter(hanging)
    assert _token_problem(target, adapter) is None
    with pytest.raises(KafkaConnectionError):
        await adapter.token()
    assert _token_problem(target, adapter) == "no token in 5 s; see KAFKA_SASL_PASSWORD"
    accepted = TokenAdapter(FixedToken(Secret("abc")))
    await accepted.token()
    assert "it does not accept this token; see KAFKA_SASL_PASSWORD" in str(_token_problem(target, accepted))


async def test_calls_that_hang_are_bounded(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_calls", threading.BoundedSemaphore(1))
    adapter = TokenAdapter(hanging)
    with pytest.raises(KafkaConnectionError, match="no token for Kafka in"):
        await adapter.token()
    with pytest.raises(KafkaConnectionError, match="calls for a token for Kafka have not returned"):
        await adapter.token()
