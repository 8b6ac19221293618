"""The description of a scenario, and the list of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.local.demo.dead_letters import MAX_RECORD_BYTES
from tests.chaos.events import EventMix

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.chaos.environment import Environment

RunFunction = Callable[["Environment"], None]


class FaultNotPossibleError(RuntimeError):
    """This machine does not allow the fault; the text says why. The run counts as not run, never as passed."""


@dataclass(frozen=True)
class Scenario:
    """One way to break something. The results of all scenarios are verified in the same way.

    Attributes:
        name: as in `--scenario`.
        breaks: the fault, in a sentence.
        run: causes the fault. When it returns, the fault is repaired and at least one worker runs.
        events: records of a run, unless `--events` says otherwise.
        mix: what the events are like.
        environment: variables of the workers beside `tests.chaos.environment.SHORT_TIMES`.
        outage_letters: how many metrics may become dead letters of an outage: those that were in flight.
        repeats: whether work may be repeated, so that the table (never its view) has a row twice, a dead letter is
            there twice, or a dead letter is there beside a row whose insert was not answered.
        apache_kafka: whether the broker is Apache Kafka instead of Tansu, without a proxy. Needs Java and its jars.
        broker_proxied: whether all Kafka clients, those of the run included, connect through the proxy.
        before_engine: entered before the engine starts, with the directory of the run.
        pointer_bytes: from about this size on a dead letter may be a pointer, because its topic takes no larger one.
        shards: how many shards the table has; more than one need a Distributed table and as many engines.
        short: whether the scenario belongs to the selection of `--short`.
    """

    name: str
    breaks: str
    run: RunFunction
    events: int = 10_000
    mix: EventMix = field(default_factory=EventMix)
    environment: Mapping[str, str] = field(default_factory=dict)
    outage_letters: int = 0
    repeats: bool = True
    apache_kafka: bool = False
    broker_proxied: bool = False
    before_engine: Callable[[Path], AbstractContextManager[None]] | None = None
    pointer_bytes: int = MAX_RECORD_BYTES
    shards: int = 1
    short: bool = False


BY_NAME: dict[str, Scenario] = {}


def scenario(name: str, breaks: str | None = None, **options: Any) -> Callable[[RunFunction], RunFunction]:
    """Add a scenario that runs the decorated function; without `breaks` its docstring says what it breaks."""

    def add(run: RunFunction) -> RunFunction:
        BY_NAME[name] = Scenario(name, breaks or run.__doc__ or "", run, **options)
        return run

    return add
