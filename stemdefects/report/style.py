"""One look for every figure: sizes, colours, saving as PNG and SVG."""

import multiprocessing
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # inference draws in these colours, and need not know the analysis
    from matplotlib.figure import Figure

    from stemdefects.analysis.inputs import Inputs


# Okabe-Ito: distinguishable also with colour-blind eyes
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#6B6B6B", "#B8A600")
NAMED = {
    "red": "#D62728",
    "blue": "#1F5FBF",
    "black": "#222222",
    "magenta": "#C2189E",
    "cyan": "#17A6B8",
    "green": "#2CA02C",
}
GREY = "#8a8a8a"


class Colours(dict[str, str]):
    """A colour for every kind, the same in every figure and on the page; colour words get their own colour."""

    def __init__(self, kinds: Iterable[str]):
        super().__init__()
        for kind in kinds:
            self[kind]

    def __missing__(self, kind: str) -> str:
        others = sum(name not in NAMED for name in self)
        self[kind] = NAMED.get(kind) or COLOURS[others % len(COLOURS)]
        return self[kind]


def colours(inputs: "Inputs") -> Colours:
    """The colours of an analysis: kinds of the material first, in its order, so that reports agree."""
    return Colours([*(inputs.material.kind_names if inputs.material is not None else ()), *inputs.kinds])


def pyplot() -> ModuleType:
    """matplotlib.pyplot on the Agg canvas with our settings."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e6e6e6",
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "legend.frameon": False,
            "axes.formatter.limits": (-2, 4),
            "figure.constrained_layout.use": True,
            "svg.fonttype": "none",
            "figure.dpi": 100,
            "figure.max_open_warning": 0,  # a page's figures are all drawn before they are saved, and closed then
            "savefig.dpi": 160,
        }
    )
    return plt


def save(figure: "Figure", folder: Path, name: str) -> Path:
    """Write `name`.png and `name`.svg into `folder`; returns the PNG's path and closes the figure."""
    folder.mkdir(parents=True, exist_ok=True)
    _with_powers(figure)
    # laid out and cut to what is drawn once for both: either takes as long as drawing, and savefig would do both again
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    box = figure.get_tightbbox().padded(pyplot().rcParams["savefig.pad_inches"])
    path = folder / f"{name}.png"
    for each in (folder / f"{name}.svg", path):
        figure.savefig(each, bbox_inches=box)
    pyplot().close(figure)
    return path


_RAISED = str.maketrans("0123456789-", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "+")


def _with_powers(figure: "Figure") -> None:
    """Lets the axes say x10^-4 and not 1e-4. matplotlib's own way of it takes every label of a tick for mathematics,
    and parsing these takes longer than drawing all the rest."""
    from matplotlib.ticker import ScalarFormatter

    class Powers(ScalarFormatter):
        def get_offset(self) -> str:
            offset = super().get_offset().replace("\N{MINUS SIGN}", "-")
            factor, power, exponent = offset.partition("1e")
            return f"\u00d710{exponent.translate(_RAISED)}" if power and not factor else offset

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(Powers())


PATIENCE_S = 30.0  # for a copy of this process to end after all else is saved: one figure takes it three seconds


def save_all(figures: Mapping[str, "Figure"], folder: Path) -> dict[str, Path]:
    """`save` of several, shared out over the cores where the process may be copied; returns the path of each PNG.

    A copy of a process has the figures already, drawn in one order and with one set of colours. Where JAX is at work
    its threads would be missing in a copy; there, and where a system knows no copies, all is done here.
    """
    names = list(figures)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    copies: list[Any] = []
    if min(cores, len(names)) > 1 and "jax" not in sys.modules and not multiprocessing.current_process().daemon:
        forking = multiprocessing.get_context("fork")
        taken = forking.Value("i", 0)
        copies = [forking.Process(target=_save_next, args=(figures, folder, taken)) for _ in range(1, cores)]
        with warnings.catch_warnings():  # what other threads hold (a progress bar's) no copy asks for
            warnings.filterwarnings("ignore", message=".*fork", category=DeprecationWarning)
            for copy in copies:
                copy.start()
        try:
            _save_next(figures, folder, taken)
        finally:
            for copy in copies:
                copy.join(PATIENCE_S)
                copy.kill()  # one that waits for a lock which a thread held when it was copied would wait for ever
                copy.join()
    if not copies or any(copy.exitcode for copy in copies):
        return {name: save(figures[name], folder, name) for name in names}
    for figure in figures.values():
        pyplot().close(figure)
    return {name: folder / f"{name}.png" for name in names}


def _save_next(figures: Mapping[str, "Figure"], folder: Path, taken: Any) -> None:
    """Save one after the other of those that no process has `taken` (the number of them, shared by all)."""
    names = list(figures)
    while True:
        with taken.get_lock():
            number = taken.value
            taken.value += 1
        if number >= len(names):
            return
        save(figures[names[number]], folder, names[number])
