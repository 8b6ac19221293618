"""Dead letters: their format, filters, statistics and advice, and the settlements that say what became of them."""
