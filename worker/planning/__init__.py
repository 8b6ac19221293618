"""Measures what events cost on this machine, and plans workers, partitions and batches for a rate of them."""
