"""Labels from the movie itself: what is not the periodic lattice."""
