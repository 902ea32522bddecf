"""What a person corrected: applied to detections and evidence, and what it says of the model."""
