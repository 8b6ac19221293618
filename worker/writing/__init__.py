"""Writing blocks: retries, isolation of guilty rows, and telling an outage from poison. Knows a port, not a driver."""
