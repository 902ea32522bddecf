"""Which drawing makes a figure that a stage names."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from stemdefects.report.drawings import crystal, damage, field, kinetics, motion, population, states
from stemdefects.report.style import pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# by the name in `StageResult.figures`: (its data, colour of each kind) -> matplotlib figure, None: nothing to draw
DRAWINGS: dict[str, Callable[[Any, Mapping[str, str]], "Figure | None"]] = {
    "scores": states.scores,
    "counts": population.counts,
    "regions": population.regions,
    "growth": population.growth,
    "drift": field.drift,
    "trajectories": field.trajectories,
    "broom": field.broom,
    "classes": states.class_averages,
    "diffusion": motion.diffusion,
    "msd": motion.msd,
    "gate_scan": motion.gate_scan,
    "rose": motion.rose,
    "pairs": field.pairs,
    "lines": population.lines,
    "displacements": crystal.displacements,
    "components": crystal.components,
    "strain": crystal.strain,
    "transitions": states.transitions,
    "damage": damage.rates,
    "pathways": damage.pathways,
    "phases": damage.phases,
    "kinetics_lattice": kinetics.lattice,
    "kinetics_D": kinetics.posterior_of_D,
    "kinetics_windows": kinetics.windows,
    "kinetics_counts": kinetics.counts,
    "kinetics_switching": kinetics.switching,
    "kinetics_chains": kinetics.chains,
}


def draw(name: str, data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """The figure `name` from its `data`; None where there is nothing to draw."""
    if callable(data):
        drawn: Any = data(pyplot())
        return drawn
    return DRAWINGS[name](data, colours)
