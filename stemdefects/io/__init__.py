"""Files: movies in, defect tables and run folders out."""
