"""What the journal says of a command: who runs it, when and why."""

import shlex
import sys
from getpass import getuser
from os import getuid
from socket import gethostname
from time import time
from uuid import uuid4

from worker.dead_letters.settlement import Action, Settlement


def new_entry(action: Action, reason: str | None) -> Settlement:
    """The entry of a new operation."""
    return Settlement(
        action,
        operation=uuid4().hex,
        by=f"{_user()}@{gethostname()}",
        at=int(time() * 1000),
        why=reason,
        command=shlex.join(sys.argv[1:]),
    )


def _user() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container can run as a user without a name
        return str(getuid())
