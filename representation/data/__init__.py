"""Data sets on disk, and the batches that training reads."""
