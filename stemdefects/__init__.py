"""stemdefects: from movies of atoms to numbers."""

__version__ = "0.1.0"
