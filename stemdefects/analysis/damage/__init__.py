"""Beam damage: what happens to each site of the moving sublattice, as competing risks, with cross-sections in barn."""
