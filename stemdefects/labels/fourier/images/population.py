"""Scenes of a known crystal: the movie's own periodic part with states of all its columns planted, exactly labelled.

A movie shows few of its defects beyond doubt, and V_S next to never. But once its columns are registered with a crystal
it is known how much light each state adds or takes, in this movie's counts and with this movie's probe. So scenes hold
every state that the simulator draws, complexes included, and teach what the labels cannot.
"""

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.labels.fourier.images import scenes
from stemdefects.schema import SimulationConfig
from stemdefects.simulation import conditions
from stemdefects.simulation.specimen import population

if TYPE_CHECKING:
    from stemdefects.labels.fourier.label import MovieLabels


class Registered(NamedTuple):
    """The crystal that a movie shows: its material, what is drawn of it, cell (L, 2) of each labelled column in whole
    vectors, site (L,), the counts at the centre of a column of signal 1, and how much more light than the material says
    each state (S,) adds here, where that was measured."""

    material: Material
    simulation: SimulationConfig
    cell: np.ndarray
    site: np.ndarray
    amplitude: float
    factor: np.ndarray | None = None


def draw(crystal: Registered, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """States of the columns (n, L), drawn as the simulator does, and what each adds to an ideal column (n, L), counts.

    Densities, complexes, voltage and the spread of the signals are drawn anew for each of the `n`.
    """
    material = crystal.material
    cells, number = np.unique(crystal.cell, axis=0, return_inverse=True)
    slots = population.slots(material, geometry.build(material, cells))
    index = number.reshape(-1) * material.n_sites + crystal.site

    def one(key):
        keys = jax.random.split(key, 3)
        drawn = conditions.draw_conditions(keys[0], material, crystal.simulation)
        state = population.point_defects(keys[1], slots, material, drawn.density, 1.0)
        return population.plant_complexes(keys[2], slots, material, state, drawn.complexes), drawn.signals_nm2

    state, signal = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), n)))
    ideal = signal[:, material.ideal_states]
    nominal = material.intensities()[material.ideal_states]
    unit = crystal.amplitude * nominal.max() / ideal[:, [nominal.argmax()]]  # counts per nm2
    state = state[:, index]
    added = np.take_along_axis(signal, state, 1) - ideal[:, crystal.site]
    return state, unit * added * (1.0 if crystal.factor is None else crystal.factor[state])


def make(
    labels: "MovieLabels", yx: np.ndarray, crystal: Registered, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(pictures (n, H, W) without noise, states of the columns (n, L)); yx: (L, 2) their places in the first frame."""
    state, added = draw(crystal, n, seed)
    shape = _column(labels)
    pictures = np.repeat(labels.clean[None], n, 0)
    for picture, one, ideal in zip(pictures, added, state == crystal.material.ideal_states[crystal.site], strict=True):
        for i in np.flatnonzero(~ideal):
            scenes.plant(picture, yx[i], one[i] * shape)
    return pictures, state


def _column(labels) -> np.ndarray:
    """(s, s) picture of a column of height about 1: as the best known sort of defects shows it, else a Gaussian."""
    found = scenes.sorts(labels, labels.sure.any(0))
    if not found:
        return scenes.gaussian(labels.lattice.spacing_px, labels.sigma_px)
    return max(found, key=lambda sort: (sort.z**2).sum()).shape
