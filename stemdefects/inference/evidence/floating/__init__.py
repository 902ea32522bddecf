"""Defects of an unknown crystal, in all frames of a movie together: calls, drift, places of the cell, sites."""
