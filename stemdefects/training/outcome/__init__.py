"""What becomes of the weights: validation, figures, the model and its card."""
