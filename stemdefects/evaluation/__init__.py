"""What an image can tell at best, and how near a detector comes. Imports crystal, simulation and models only."""
