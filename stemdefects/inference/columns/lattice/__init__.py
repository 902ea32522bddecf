"""Which site of the lattice each column is on, and which sites show none."""
