"""How the microscope made the frames of a known crystal: measured, and the simulation drawn around it."""
