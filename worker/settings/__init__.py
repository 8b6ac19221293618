"""The configuration: every environment variable, and `load`, the only reader of the environment."""
