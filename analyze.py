"""Tracks, classes, diffusion and transitions from a defect table: python analyze.py run=<id>"""

from stemdefects.entry import hydra_main
from stemdefects.schema import AnalyzeRoot


def run(cfg: AnalyzeRoot) -> None:
    """Analyse the defect table of a run (run=<id>), or any table (table=<csv or h5>, which opens a new run).

    Several are compared: run=[first,second] or table=[a.csv,b.csv].
    """
    from stemdefects.analysis import command

    command.run(cfg)


if __name__ == "__main__":
    hydra_main("analyze", AnalyzeRoot, run)
