"""Diffusion from tracks: the estimators, and what they say together."""
