"""How the worker refuses a record."""

import pytest

from tests.support.events import record
from worker.core.errors import InvalidEvent
from worker.events.decode import decode


def refusal_of(document: object, headers: tuple[tuple[str, bytes | None], ...] = ()) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode(record(document, headers=headers))
    return caught.value
