"""Training images from a few labelled frames."""
