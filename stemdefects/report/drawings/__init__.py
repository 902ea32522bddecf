"""Drawings of what stages of the analysis hand on: each takes the data of one figure and the colours of the kinds."""
