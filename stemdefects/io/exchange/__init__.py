"""Defect tables for other programs, and theirs for us. Libraries are imported when they are asked for."""
