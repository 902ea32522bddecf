"""Find the defects in a movie or image: python infer.py run=<id> input=<file>"""

from stemdefects.commands.applications import infer

if __name__ == "__main__":
    infer()
