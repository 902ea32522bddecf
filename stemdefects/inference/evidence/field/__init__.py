"""Which frames show the same field, and where it moved."""
