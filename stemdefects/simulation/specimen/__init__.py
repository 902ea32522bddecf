"""The crystal with its defects, and what they do in time."""
