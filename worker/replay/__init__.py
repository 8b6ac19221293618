"""Putting dead letters back through the worker's own pipeline. Knows ports, not clients."""
