"""The console: pages on which an operator finds out which dead letters are open, why, and what to do about them."""
