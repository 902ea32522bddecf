"""How the columns around a defect stand, and the strain of the field."""
