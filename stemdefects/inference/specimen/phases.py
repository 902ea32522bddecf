"""Is what the network calls 1T really so? By the light of the split sublattice's places.

In the 1T phase the columns of one sublattice are split: half of their atoms stand at their place, half at the empty
place opposite, which then is as bright. (In Fourier space that is the phase of the first Bragg components, which the
sublattices share.) A patch where the place has the light of a whole column more than the empty one is none.
"""

import numpy as np
from scipy import ndimage

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice.sites import SiteView
from stemdefects.inference.network.bragg_map import ABSENT
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.numerics.borders import from_border

LATTICE, AMORPHOUS, SPLIT = 0, 2, 3  # of the network's regions
SPLIT_BELOW = 0.5  # of a whole column's light: half way between both phases
LEAST = 4  # columns of a patch, to say so
FOUND = 0.5  # of them that the network must show a column at: where it sees none it knows of no phase


def checked(
    output: FrameOutput,
    columns: Columns,
    sites: SiteView | None,
    promised: np.ndarray,
    material: Material,
    image_px_nm: float,
) -> FrameOutput:
    """`output` whose map and fractions of regions hold 1T only where the light supports it; elsewhere it is lattice,
    or, without Bragg components, amorphous. columns, sites and promised: of the frame (`defects.FrameDefects`).
    """
    regions = output.regions
    if regions is None or not (regions == SPLIT).any():
        return output
    labels, n = ndimage.label(regions == SPLIT, np.ones((3, 3)))
    step = [-(-size // cells) for size, cells in zip(output.image.shape, regions.shape, strict=True)]
    contrast, cell, seen = _contrasts(output, columns, sites, ~promised, material, image_px_nm, step)
    patch = labels[tuple(cell)] if len(contrast) else np.zeros(0, int)
    wrong = np.zeros(regions.shape, bool)
    for number in range(1, n + 1):
        mine = contrast[patch == number]
        if len(mine) < LEAST or np.mean(mine) > SPLIT_BELOW or seen[patch == number].mean() < FOUND:
            wrong |= labels == number
    if not wrong.any():
        return output
    new = np.where(wrong, LATTICE, regions).astype(regions.dtype)
    if output.lattice is not None and output.lattice.clear:
        centres = [(np.arange(k) + 0.5) * s / output.scale for k, s in zip(regions.shape, step, strict=True)]
        y, x = (p.ravel() for p in np.meshgrid(*centres, indexing="ij"))
        nothing = (output.lattice.at(y, x) < ABSENT).reshape(regions.shape)
        new[wrong & nothing] = AMORPHOUS
    fraction = np.array(output.region_fraction, float)
    moved = fraction[SPLIT] * wrong.sum() / (regions == SPLIT).sum()
    amorphous = moved * (new[wrong] == AMORPHOUS).mean()
    fraction[SPLIT] -= moved
    fraction[AMORPHOUS] += amorphous
    fraction[LATTICE] += moved - amorphous
    return output._replace(regions=new, region_fraction=fraction)


def _contrasts(
    output: FrameOutput,
    columns: Columns,
    sites: SiteView | None,
    found: np.ndarray,
    material: Material,
    image_px_nm: float,
    step: list[int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) how much more light the place of the sublattice that splits has than the empty one opposite, in units of a
    whole column's; (2, n) cells of the map of regions; (n,) bool, of `found` (m,). None where the material has no such
    phase."""
    nothing = np.zeros(0), np.zeros((2, 0), int), np.zeros(0, bool)
    if material.phase_1T is None or sites is None or output.regions is None:
        return nothing
    split, signal = material.phase_1T[0], material.intensities()[material.ideal_states]
    others = [g for g, s in enumerate(material.sites) if g != split and not s.floating]
    if not others:
        return nothing
    metal = max(others, key=lambda g: signal[g])
    use = sites.on_lattice & (columns.site == metal)
    place = np.stack([columns.y_px, columns.x_px], 1)[use].astype(float) * output.scale
    bond = (material.basis[split] - material.basis[metal]) @ sites.vectors_px * output.scale
    inside = np.ones(len(place), bool)
    for at in (place + bond, place - bond):
        inside &= from_border(at, output.image.shape) >= 0
    place, found = place[inside], found[use][inside]
    if not len(place):
        return nothing
    image, width = np.asarray(output.image, np.float32), column_intensity.WIDTH_NM / image_px_nm
    own, there, empty = (column_intensity.smoothed(image, place + k * bond, width) for k in (0, 1, -1))
    whole = np.median(own - empty) * signal[split] / signal[metal]
    if not whole > 0:
        return nothing
    cells = [(p / s).astype(int).clip(0, k - 1) for p, s, k in zip(place.T, step, output.regions.shape, strict=True)]
    return (there - empty) / whole, np.array(cells), found
