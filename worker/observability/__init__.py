"""What the worker shows of itself: telemetry, logs, traces, health endpoints, status page."""
