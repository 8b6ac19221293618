"""What platforms and people are told over HTTP: health, telemetry and the status page. Nothing there changes state."""
