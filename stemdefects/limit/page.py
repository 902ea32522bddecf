"""The study as a page: tables in Markdown and one picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def number(value: float, digits: int = 2) -> str:
    """`.73`, `1.00`, `-` for NaN: as tables show scores."""
    if value is None or not np.isfinite(value):
        return "-"
    return f"{value:.{digits}f}".removeprefix("0")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def limit_rows(results: dict, kinds: Sequence[str]) -> list[list[str]]:
    """Rows of one set of conditions. results: {(dose, frames): {kind: figures of `study.summary`}}."""
    rows = []
    for (dose, frames), by_kind in results.items():
        row = [f"{dose:g}", str(frames)]
        for kind in kinds:
            f = by_kind[kind]
            row.append(f"**{number(f['f1'])}** ({number(f['counted_f1'])}; {number(f['ap'])})")
        rows.append(row)
    return rows


def detectability_rows(results: dict, kinds: Sequence[str]) -> list[list[str]]:
    """d' of one frame per dose: the 5% and 95% quantiles over columns and images, and the F1 it alone allows."""
    rows = []
    for (dose, frames), by_kind in results.items():
        if frames == min(n for _, n in results):
            rows.append(
                [f"{dose:g}"]
                + [
                    f"{f['d_prime_low']:.1f}-{f['d_prime_high']:.1f} ({number(f['f1_low'])}-{number(f['f1_high'])})"
                    for f in (by_kind[k] for k in kinds)
                ]
            )
    return rows


def network_rows(network: dict, kinds: Sequence[str]) -> list[list[str]]:
    """Rows of a network. network: {(dose, frames, views): {kind: figures of the script}}."""
    rows = []
    for (dose, *how), by_kind in network.items():
        row = [f"{dose:g}", *map(str, how)]
        for kind in kinds:
            f = by_kind[kind]
            row.append(
                f"**{number(f['ratio'])}** ({number(f['ratio_low'])}-{number(f['ratio_high'])}): {number(f['f1'])} of "
                f"{number(f['observer_f1'])}; AP {number(f['ap'])}; {number(f['own_f1'])}"
            )
        rows.append(row)
    return rows


def picture(path: Path, sections: dict, kinds: Sequence[str]) -> None:
    """Best F1 against dose, a row of panels per set of conditions, a panel per kind, a line per number of frames.

    sections: {name: (results, network or None)} as above. Crosses: the network.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        len(sections),
        len(kinds),
        figsize=(2.7 * len(kinds), 2.5 * len(sections) + 0.4),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    colours = ["#1b6ca8", "#d1495b", "#4f9d69", "#8e6c8a", "#c68b2c"]
    for line, (name, (results, network)) in zip(axes, sections.items(), strict=True):
        numbers = sorted({n for _, n in results})
        for ax, kind in zip(line, kinds, strict=True):
            dose = np.zeros(0)
            for colour, n in zip(colours, numbers, strict=False):
                dose = np.array(sorted({d for d, m in results if m == n}))
                f1 = [results[d, n][kind]["f1"] for d in dose]
                ax.plot(dose, f1, "-o", ms=3, lw=1.4, color=colour, label=f"limit, {n} frame{'s' if n > 1 else ''}")
                views = max((v for _, m, v in network or () if m == n), default=0)
                known = [d for d in dose if network and (d, n, views) in network]
                if known:
                    value = np.array([network[d, n, views][kind]["f1"] for d in known])
                    ax.plot(known, value, "x", ms=7, mew=1.6, color=colour, label=f"network, {n}")
            ax.set(xscale="log", ylim=(-0.02, 1.04), title=kind if ax in axes[0] else "")
            ax.set_xticks(dose, [f"{d:g}" for d in dose])
            ax.minorticks_off()
            ax.grid(alpha=0.25)
        line[0].set_ylabel(f"simulation={name}\nbest F1 of one kind")
    for ax in axes[-1]:
        ax.set_xlabel("dose per frame (e/px)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(handles), 6), frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


INTRODUCTION = """# The limit of detection

What can be told from an image at a given dose, by any method? The **ideal observer** knows the lattice, the exact place
of every column, the probe, the background, the distortions of the scan, every gain and the noise model, and how common
each kind is. It does not know which column is in which state. A threshold on its posterior is the best detector there
is (Neyman and Pearson): no network can do better on these images, and a network is judged by its share of this limit.

- The likelihood is that of the simulated detector: Poisson electrons with pulse heights and read-out noise, afterglow
  undone, pixel by pixel (`stemdefects/limit/noise.py`). Neighbours whose states are uncertain too are treated by
  iterated posterior means; Gibbs sampling, which is exact, agrees (`tests/limit`).
- F1 is the largest over all thresholds at this prevalence: {prevalence}; every other kind 0.03%
  of its site's columns.
- T frames show a static sample: the same columns, new noise and new row jitter, and the drift that alignment left.
- Columns within {margin:g} px of the border and in holes, patches and 1T regions are not scored.

Made by `{command}`: {images} clips of 256 x 256 px at every dose, {seconds} s on two shared cores.

![Best F1 against dose](limit.png)
"""

CONDITIONS = {
    "limit": "A flat, steady crystal, 0.03 nm/px, probe of 0.09-0.12 nm FWHM, Poisson noise alone; 0.5% of the beam is "
    "detected, 30% of that is background.",
    "train": "The training images: every aberration, distortion, background and detector setting in its training range "
    "(`configs/simulation/train.yaml`), known to the observer, unknown to the network. What each of them costs: "
    "[losses.md](losses.md).",
}
LIMIT = """At every dose {counts}.

**Largest F1**, expected from the observer's own posterior; in brackets counted against the truth of these images at the
same threshold (it differs by luck), then average precision:"""
DETECTABILITY = """Detectability d' of one column in one frame, matched filter with known neighbours: 5% and 95%
quantiles over columns and images, and the F1 that this d' alone allows in the Gaussian limit:"""
POSITIONS = """Cramer-Rao bound of a column's position in one frame from its own light alone, per axis, root mean square
(nm); for faint columns the lattice, that is the neighbours' places, says more than their own light:"""
NETWORK = """Networks {models} on the same images, {light} (`inference.light`), looking once or at
all eight turned and mirrored views (`inference.symmetries=8`): **share of the observer's F1**, both counted and each at
its best threshold (95% interval by bootstrap over images); then the two F1, average precision, and F1 at the threshold
the model carries for all doses. {averaged}"""
ERRORS = "Position error per axis, root mean square (nm), and in brackets its ratio to the bound of as many frames:"
HOPPING = """The same networks where 5% of the vacancies hop from one frame to the next: best F1 for the middle frame.
What the observer of a static sample reaches cannot be reached here:"""


def write(
    folder: Path,
    sections: dict,
    positions: dict,
    facts: dict,
    prevalence: dict[str, float],
    states: Sequence[str],
    hopping: dict | None = None,
) -> Path:
    """Write `limit.md` and `limit.png` into `folder`; returns the page.

    sections: {simulation: (results, network figures)}; positions: {simulation: {dose: {state: bound in nm}}}; facts:
    images, seconds, command, models; prevalence: of the kinds that get a column; states: whose positions are told;
    hopping: {simulation: {(dose, frames, views): {kind: f1, ap}}}, things moving.
    """
    from stemdefects.limit import study

    kinds = list(prevalence)
    folder.mkdir(parents=True, exist_ok=True)
    picture(folder / "limit.png", sections, kinds)
    common = ", ".join(f"`{k}` {100 * v:g}%" for k, v in prevalence.items())
    parts = [INTRODUCTION.format(prevalence=common, margin=study.MARGIN_PX, **facts)]
    for name, (results, network) in sections.items():
        first = next(iter(results.values()))
        counts = ", ".join(f"{first[k]['n']} `{k}` in {first[k]['sites']} columns" for k in kinds)
        bounds = [[f"{d:g}", *(number(by.get(s, np.nan), 4) for s in states)] for d, by in positions[name].items()]
        parts += [
            f"## simulation={name}",
            CONDITIONS.get(name, f"`configs/simulation/{name}.yaml`."),
            LIMIT.format(counts=counts),
            table(["e/px", "frames", *kinds], limit_rows(results, kinds)),
            DETECTABILITY,
            table(["e/px", *kinds], detectability_rows(results, kinds)),
            POSITIONS,
            table(["e/px", *states], bounds),
        ]
        if network:
            parts += [
                NETWORK.format(**facts),
                table(["e/px", "frames", "views", *kinds], network_rows(network, kinds)),
                ERRORS,
                table(["e/px", "frames", "views", *states], error_rows(network, positions[name], states)),
            ]
        if hopping and name in hopping:
            rows = [
                [f"{d:g}", *map(str, how), *(f"{number(by[k]['f1'])} (AP {number(by[k]['ap'])})" for k in kinds)]
                for (d, *how), by in hopping[name].items()
            ]
            parts += [HOPPING, table(["e/px", "frames", "views", *kinds], rows)]
    path = folder / "limit.md"
    path.write_text("\n\n".join(p.strip() for p in parts) + "\n")
    return path


def error_rows(network: dict, bounds: dict, states: Sequence[str]) -> list[list[str]]:
    """Rows of position errors. bounds: {dose: {state: nm in one frame}}."""
    rows = []
    for (dose, frames, views), by_kind in network.items():
        error, bound = by_kind["rmse_nm"], bounds[dose]
        cells = [(error.get(s, np.nan), error.get(s, np.nan) / bound.get(s, np.nan) * frames**0.5) for s in states]
        rows.append([f"{dose:g}", str(frames), str(views), *(f"{number(e, 4)} ({number(r)})" for e, r in cells)])
    return rows
