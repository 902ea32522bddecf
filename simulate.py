"""Simulate a movie with known truth, or a contact sheet: python simulate.py output=movie.h5"""

from stemdefects.commands.applications import simulate

if __name__ == "__main__":
    simulate()
