"""The tasks, one folder each."""
