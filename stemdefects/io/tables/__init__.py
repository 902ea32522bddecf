"""Defect tables, their evidence and their flags, and tables of text."""
