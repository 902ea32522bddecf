"""How many, where, and how that changes: counts, growth, neighbourhoods in space."""
