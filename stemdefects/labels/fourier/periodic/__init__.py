"""What repeats in a frame: its lattice, grains and cells, and what is left without them."""
