"""What a scenario is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.chaos.events import EventMix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.chaos.environment import Environment


class FaultNotPossibleError(RuntimeError):
    """The fault cannot be made on this machine; the text says why. The run counts as not run, never as passed."""


@dataclass(frozen=True)
class Scenario:
    """One way to break something. After it the books are closed in the same way for all.

    Attributes:
        name: as `--scenario` has it.
        breaks: what it does, in a sentence.
        play: does it. When it returns everything is mended and at least one worker runs.
        events: records of a run, unless `--events` says otherwise.
        mix: what they are like.
        environment: what the workers are told beside `tests.chaos.environment.SHORT_TIMES`.
        outage_letters: how many metrics may be dead-lettered because ClickHouse was away: what was in flight.
        repeats: whether something may be done twice: a row of the table (never of its view), a dead letter, or a dead
            letter beside a row whose insert was never answered.
        broker_proxied: whether Kafka's clients come through the proxy, those of the run itself included.
        before_engine: opened before the engine starts, with the folder of the run.
        shards: how many shards the table has; with more than one it is Distributed over as many engines.
        short: whether the selection of `--short` has it.
    """

    name: str
    breaks: str
    run: Callable[[Environment], None]
    events: int = 10_000
    mix: EventMix = field(default_factory=EventMix)
    environment: Mapping[str, str] = field(default_factory=dict)
    outage_letters: int = 0
    repeats: bool = True
    broker_proxied: bool = False
    before_engine: Callable[[Path], AbstractContextManager[None]] | None = None
    shards: int = 1
    short: bool = False
