"""What people start: one module for each command of `metrics-worker`, and what the commands share."""
