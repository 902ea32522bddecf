"""Optimisation, validation and checkpoints."""
