"""A table of detections as analysis takes it: read, with its times, scales and truth."""
