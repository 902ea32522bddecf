"""Frames through the network: calibration, resampling, tiles, one compiled program."""
