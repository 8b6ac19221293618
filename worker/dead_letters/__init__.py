"""Dead letters: their format, filters, statistics and advice, and the progress of replays."""
