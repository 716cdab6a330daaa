"""Insertion: bring a plug to its socket and push it in."""
