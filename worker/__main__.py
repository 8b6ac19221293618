"""`python -m worker`, and the command `metrics-worker`.

Imports nothing at first but what handles signals: the imports of the worker can take a second.
"""

import os
import signal
import sys


def main() -> None:
    """Run a command; a signal while `run` is still being imported ends it with 0: nothing has begun."""
    if sys.argv[1:2] == ["run"]:
        # As PID 1 of a container a process ignores a signal that it has no handler for.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: os._exit(0))
    from worker.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
