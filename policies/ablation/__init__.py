"""A grid of training runs: what is in it, its folder, and what runs it, on one machine or many."""
