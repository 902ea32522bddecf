"""Damage of several runs together: how it depends on voltage, temperature and dose rate."""
