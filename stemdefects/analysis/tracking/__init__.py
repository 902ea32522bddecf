"""Drift, and one detection followed to the next."""
