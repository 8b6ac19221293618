"""Replay: dead letters go through the worker's own pipeline again. Uses ports, not clients."""
