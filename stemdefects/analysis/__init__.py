"""From a defect table to drift, tracks, classes, diffusion, transitions and kinetics, each with an interval."""
