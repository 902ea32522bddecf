"""Tracks, classes, diffusion and transitions from a defect table: python analyze.py run=<id>"""

from stemdefects.commands.applications import analyze

if __name__ == "__main__":
    analyze()
