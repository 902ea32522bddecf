"""What a history looks like in the line: what readings say of a vacancy, and the light's own unknowns."""
