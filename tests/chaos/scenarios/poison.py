"""Rows that a constraint of the table refuses, among rows that it accepts."""

from tests.chaos.environment import Environment
from tests.chaos.events import METRICS, REFUSED_METRIC, EventMix
from tests.chaos.scenario import scenario


def consume_all(env: Environment) -> None:
    """Let one worker consume all records."""
    env.load.send_rest()
    env.workers.start()


def _mix(share_of_rows: float) -> EventMix:
    """Each event has one metric that can be refused."""
    if share_of_rows == 1:
        return EventMix(careless=0.0, refused=1.0, metrics=(REFUSED_METRIC,))
    return EventMix(careless=0.0, refused=share_of_rows * len(METRICS))


for _name, _share, _events in (("0-1", 0.001, 20_000), ("5", 0.05, 1_500), ("100", 1.0, 1_000)):
    scenario(
        f"poison-{_name}",
        f"{_name.replace('-', '.')} % of the rows are refused by a constraint: they alone become dead letters.",
        events=_events,
        mix=_mix(_share),
        repeats=False,
        environment={"BATCH_MAX_EVENTS": "100"} if _share == 1 else {},
    )(consume_all)
