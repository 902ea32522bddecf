"""The microscope: probe, scan, detector, and another simulator to compare with."""
