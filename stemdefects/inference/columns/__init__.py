"""From the columns of a frame to its lattice sites, intensities, calls and doubts."""
