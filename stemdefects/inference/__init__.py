"""From raw frames to a defect table."""
