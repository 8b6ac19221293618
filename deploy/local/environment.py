"""The environment that child processes of the local stack inherit."""

from __future__ import annotations

import os

from worker.settings.fields import Settings

_SETTINGS = {name for field in Settings.model_fields for name in (field.upper(), f"{field.upper()}_FILE")}


def environment_without_settings() -> dict[str, str]:
    """Return the variables of this process without the worker's settings.

    An exported `KAFKA_SECURITY_PROTOCOL` for a real cluster must not affect the local stack, its tests or the demo.
    """
    return {name: value for name, value in os.environ.items() if name not in _SETTINGS}
