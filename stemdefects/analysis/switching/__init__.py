"""Transitions between the states of a centre, from tracks."""
