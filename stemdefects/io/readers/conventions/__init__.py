"""What files mean: suffixes, units, axes, signals."""
