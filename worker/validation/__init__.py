"""Predicts the result of events before they are sent, without a connection to any server."""
