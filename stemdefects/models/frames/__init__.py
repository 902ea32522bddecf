"""How a frame is prepared for a network: sampling, tiles, intensities."""
