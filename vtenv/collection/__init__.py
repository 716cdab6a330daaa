"""Data collection: episodes of the task by many behaviours."""
