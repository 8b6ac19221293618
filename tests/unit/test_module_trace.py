"""The path of an event stays short enough to be followed: see `tests.module_trace`."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from tests.module_trace import Trace, trace_clean_event, trace_constraint_refusal


@pytest.mark.parametrize(
    ("trace", "modules", "entries"), [(trace_clean_event, 9, 30), (trace_constraint_refusal, 12, 60)]
)
async def test_event_enters_few_modules(
    trace: Callable[[], Coroutine[Any, Any, Trace]], modules: int, entries: int
) -> None:
    found = await trace()
    assert found.path[0] == "pipeline"
    assert len(found.path) <= modules
    assert len(found.observers) <= 5
    assert len(found.entries) <= entries
