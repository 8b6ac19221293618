"""The Grafana dashboard, generated."""
