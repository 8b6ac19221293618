"""The dead-letter record: its format, and what operators ask of it."""
