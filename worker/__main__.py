"""`python -m worker` is `metrics-worker`."""

from worker.cli import main

main()
