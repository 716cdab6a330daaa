"""Wrappers that put a frozen encoder around environments."""
