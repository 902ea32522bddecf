"""One vacancy's path drawn in a box of the lattice, and how much likelier it is among the others."""
