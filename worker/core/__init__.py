"""What every package shares: values, errors, outcomes, retries, holding, secrets, the process itself."""
