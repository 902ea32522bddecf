"""Frames that come: which are there, as a movie, and what was done with them."""
