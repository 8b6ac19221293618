"""What people start: the commands of `metrics-worker`, and what they share."""
