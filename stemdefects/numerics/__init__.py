"""Numerics that rooms of every height share: robust scatter, sums over hidden paths, borders, stated figures."""
