"""Dead letters as values: written, read back, selected, counted and shown. Speaks to nobody."""
