"""Writes blocks: retries, bisection, circuit breaker. Depends on `worker.ports.Store`, not on a driver."""
