"""What the start asks the store; `tests/contract/test_store.py` has its INSERTs."""

import pytest

from tests.support.fakes import MISCONFIGURED, UNAVAILABLE
from worker.clickhouse.connection import ClickHouseTarget
from worker.clickhouse.store import ClickHouseStore
from worker.core.outcome import Outcome
from worker.observability.telemetry import Telemetry


@pytest.mark.parametrize("outcome", [UNAVAILABLE, MISCONFIGURED])
async def test_problem_of_a_store_that_accepts_no_insert_is_its_error(
    outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def probe() -> Outcome:
        return outcome

    store = ClickHouseStore(ClickHouseTarget("nowhere.invalid"), writers=1, telemetry=Telemetry())
    monkeypatch.setattr(store, "probe", probe)
    assert await store.find_problem() == str(outcome)
