"""Materials and lattice geometry (numpy only; nothing here imports JAX)."""
