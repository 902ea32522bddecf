"""Find the defects in a movie or image: python infer.py run=<id> input=<file>"""

from stemdefects.entry import hydra_main
from stemdefects.schema import InferRoot


def run(cfg: InferRoot) -> None:
    """Write defects.h5, defects.csv and pictures into the run's folder; with cluster= into one run per file."""
    if cfg.cluster is not None:
        from stemdefects.inference.many import infer_many as infer
    else:
        from stemdefects.inference.flow import infer
    infer(cfg)


if __name__ == "__main__":
    hydra_main("infer", InferRoot, run, aliases={"model": "inference.model"})
