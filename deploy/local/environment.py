"""The environment of this process without what is meant for some other worker."""

from __future__ import annotations

import os

from worker.settings.fields import Settings

_SETTINGS = {name for field in Settings.model_fields for name in (field.upper(), f"{field.upper()}_FILE")}


def environment_without_settings() -> dict[str, str]:
    """The variables of this process but for those that configure a worker.

    Somebody who has `KAFKA_SECURITY_PROTOCOL` exported for a real cluster must find the local stack, its tests and the
    demo the same as everybody else.
    """
    return {name: value for name, value in os.environ.items() if name not in _SETTINGS}
