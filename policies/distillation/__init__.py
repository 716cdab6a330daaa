"""Imitating the scripted expert: DAgger, its student and what the student has met."""
