"""What all frames together say of each site."""
