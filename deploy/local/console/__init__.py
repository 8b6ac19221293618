"""`python -m deploy.local console`: dead letters of every kind, and the console to look at them."""
