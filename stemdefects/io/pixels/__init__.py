"""Pixels that hold no intensity: where they are, and what is put in their place."""
