"""What the worker reports about itself: telemetry, logs, traces, health endpoints, status page."""
