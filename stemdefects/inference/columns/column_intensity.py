"""What the light of each column says of its state, measured at the columns the network has found.

A network learns to judge a column from examples; how much light there is at a known place need not be learned. The
image is fitted by least squares as a sum of equal Gaussians, one at every column, so that neighbours which overlap are
told apart (compare the column intensities of Van Aert et al., Ultramicroscopy 109, 1236 (2009)). Each column is
compared with those of its sublattice around it, most of which are ideal: background, gain and blur cancel. How much
light an ideal column has is measured too, against the empty places of the lattice; a state whose HAADF signal is a
fraction of the ideal one's has that fraction of it. Neither the dose nor the detector need be known.

Network and light see the same electrons: their opinions are pooled as weighted logarithms (logarithmic opinion pool,
Genest & Zidek, Stat. Sci. 1, 114 (1986)). On an even crystal all that blurs the light is the noise of the pixels, and
there is nothing a network could add; where film, a wide probe or misplaced columns blur it more, the network has seen
such images. So the light's weight is the part of its variance that noise explains, and the network's is the rest.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import loops, opinion_loops, picture_loops
from stemdefects.inference.columns.lattice import neighbours, seen_width
from stemdefects.numerics import robust
from stemdefects.numerics.borders import from_border
from stemdefects.numerics.medians import median

WIDTH_NM = seen_width.FITTED_NM  # of the Gaussian: a probe's core and usual blur (docs/limit.md, docs/inference.md)
BORDER_NM = 0.15  # from the border: closer, a column need not have been found, and a neighbour there is no gap
MIN_COLUMNS = 40  # of a sublattice in a frame, to know its scatter
CLIP = 25.0  # of a log-ratio: odds of 7e10; the tails of the light are not known further out
TOGETHER = 1.2  # weights of network and light: 2 / (1 + r) of two readings whose errors correlate by r = 2/3
RATIO_RANGE = (0.6, 1.6)  # of the faint sublattice's signal over the bright one's, measured over the material's
_OUTLIER = 2.5  # robust standard deviations: farther neighbours (1% of ideal ones) do not say what is usual here
_RIDGE = 1e-3  # of a Gaussian's own overlap: two columns at nearly one place stay solvable, others change by 0.1%
_OPPOSITE = 1200  # empty places that say what the background is: to a thirtieth of their scatter
_DEPENDENT = 1e-9  # part of a term that no other one explains: below it the shortest solution is taken
_SAMPLE = 300  # columns of a sublattice whose pixels say how large the noise is


class Light(NamedTuple):
    """What `measure` says of n columns. NaN where it cannot tell."""

    deviation: np.ndarray  # (n,) light more or less than usual around the column, in units of an ideal column's
    noise: np.ndarray  # (n,) standard deviation that the pixels' noise alone gives it, the same for a whole sublattice
    smoothed: np.ndarray | None = None  # (n,) see the function; None where it was not worked out


def smoothed(image: np.ndarray, place_px: np.ndarray, width_px: float) -> np.ndarray:
    """(n,) `image` (H, W), its mean taken off, convolved with a Gaussian of this standard deviation, at the places
    (n, 2) y, x. Pixels outside are taken as those at the border."""
    return picture_loops.blurred(image, place_px, width_px) - float(np.mean(image))


def amplitudes(seen: np.ndarray, place_px: np.ndarray, width_px: float) -> np.ndarray:
    """(n,) light of each column: the volume of its Gaussian, in units of the image times px^2, up to a constant.

    seen: (n,) the image `smoothed` by `width_px` at the columns; place_px: (n, 2) float y, x; width_px: standard
    deviation. Within two widths of the border the light is not to be trusted.
    """
    return loops.unmixed(seen, place_px, width_px, _RIDGE, 1e-6) * (4 * np.pi * width_px**2)


def measure(
    image: np.ndarray, place_px: np.ndarray, site: np.ndarray, cell: np.ndarray, material: Material, pixel_nm: float
) -> Light:
    """How much more or less light each of n columns has than is usual around it, in units of an ideal column's.

    0: ideal, -1: nothing there. NaN where that cannot be said: floating sites, columns off the lattice, within 0.1 nm
    of the border or beside a hole, sublattices with too few columns; all of it without two sublattices of different
    signal. image: (H, W) counts in any unit; place_px: (n, 2) y, x; site: (n,) sublattice; cell: (n, 2) of the
    lattice-site view (`sites.SiteView`); pixel_nm: of the image.
    """
    deviation, noise = np.full(len(site), np.nan), np.full(len(site), np.nan)
    ends, width_px = _ends(site, material), WIDTH_NM / pixel_nm
    if ends is None:
        return Light(deviation, noise)
    image, place_px = np.asarray(image, np.float32), np.asarray(place_px, float)
    seen = smoothed(image, place_px, width_px)
    light = amplitudes(seen, place_px, width_px)
    sublattices = _sublattices(site, material)
    around = neighbours.around(cell, site, material)
    # columns of the same sublattice say what is usual here; theirs, twice over, what is usual in a wider field
    usual = loops.robust_means(light, around.same, _OUTLIER)
    wider = usual
    for _ in range(2):
        wider = loops.means(wider, around.same)
    deviation = light - usual
    border = from_border(place_px, image.shape)
    whole = around.whole | neighbours.cut_by_border(place_px, around, image.shape, BORDER_NM / pixel_nm)
    deviation[(border < 2 * width_px) | ~whole] = np.nan
    signal = material.intensities()[material.ideal_states]
    nominal = float(signal[ends[0]] / signal[ends[1]])
    ratio = nominal * float(
        np.clip(
            np.nan_to_num(_ratio(image, seen, place_px, width_px, site, around, ends) / nominal, nan=1.0), *RATIO_RANGE
        )
    )
    faint, bright = (median(light[site == g]) for g in ends)
    unit = float((bright - faint) / (1 - ratio))  # light of an ideal column of the bright one
    deviation = _without_neighbours(deviation, usual - wider, around.near, site)
    for g in np.flatnonzero(np.bincount(site)):
        ideal = unit * (ratio if g == ends[0] else float(signal[g] / signal[ends[1]]))
        mine = site == g
        deviation[mine] /= ideal if g in sublattices and ideal > 0 else np.nan
        if g in sublattices and ideal > 0:  # volume of a Gaussian fitted to noise
            noise[mine] = np.sqrt(4 * np.pi) * width_px * pixel_noise(image, place_px[mine], width_px) / ideal
    return Light(deviation, noise, seen)


def pixel_noise(image: np.ndarray, place_px: np.ndarray, width_px: float) -> float:
    """Standard deviation of the noise of the pixels around places that look alike, in units of `image`; NaN for few.

    image: (H, W); place_px: (m, 2) y, x; width_px: of the Gaussian that weighs the pixels. From second differences
    along both axes, which smooth images hardly have (Immerkaer, Comput. Vis. Image Underst. 64, 300 (1996)); what the
    places have in common is taken off before. Noise is supposed white: of interpolated pixels it comes out too small.
    """
    reach = int(np.ceil(2 * width_px))
    inside = np.flatnonzero(from_border(place_px, image.shape) > reach + 1)
    if len(inside) < MIN_COLUMNS:
        return np.nan
    centre = np.rint(place_px[inside[:: -(-len(inside) // _SAMPLE)]]).astype(int)
    squares = opinion_loops.rough(np.asarray(image), centre, reach, width_px)
    return float(np.sqrt(median(squares))) / 6  # 6: what the differences make of white noise


def evidence(
    deviation: np.ndarray,
    site: np.ndarray,
    material: Material,
    relative: np.ndarray | None = None,
    scatters: np.ndarray | None = None,
) -> np.ndarray:
    """(n, S) log-likelihood of each state of a column's site, less that of its ideal state; 0 where the light says
    nothing.

    deviation: (n,) from `measure`; site: (n,) sublattice; relative: (S,) light of the states over that of their site's
    ideal one, None: by the material's signals. Gaussian, with the scatter that the sublattice's columns have in this
    image; scatters: (G,) these, where they are known, NaN for sublattices that are not judged.
    """
    scatters = _scatters(deviation, site, material) if scatters is None else scatters
    if relative is None:
        signal = material.intensities()
        relative = signal / signal[material.ideal_states[material.site_of_state]]
    return opinion_loops.log_ratios(
        deviation, site, scatters, material.site_of_state, material.ideal_states, (relative - 1).astype(float), CLIP
    )


def share(light: Light, site: np.ndarray, material: Material, scatters: np.ndarray | None = None) -> np.ndarray:
    """(n,) part of the light's variance in this image that the noise of the pixels explains, 0..1, per sublattice.
    scatters: as of `evidence`."""
    scatters = _scatters(light.deviation, site, material) if scatters is None else scatters
    return np.minimum(np.nan_to_num(light.noise / scatters[site]) ** 2, 1.0)


def _scatters(deviation: np.ndarray, site: np.ndarray, material: Material) -> np.ndarray:
    """(G,) scatter of the deviations (n,) of each sublattice of the lattice, NaN where there are too few."""
    out = np.full(material.n_sites, np.nan)
    for g in _sublattices(site, material):
        mine = deviation[site == g]
        if np.isfinite(mine).sum() >= MIN_COLUMNS:
            out[g] = scatter(mine)
    return out


def network_weight(part: np.ndarray) -> np.ndarray:
    """(n,) what the network's log-likelihoods count where the light's count `part` (n,), see `share`."""
    return np.minimum(TOGETHER - part, 1.0)


def pooled(
    prob: np.ndarray, found: np.ndarray, part: np.ndarray, prior: np.ndarray, site: np.ndarray, material: Material
) -> np.ndarray:
    """(n, S) posterior from the network's posterior `prob` (n, S) and the light's `evidence` (n, S).

    part: (n,) or (n, S) weight of the light's log-likelihoods, see `share`, `seen_width`; that of the network's is
    `network_weight`; where the light says nothing, `prob` stays. prior: (S,) prevalence that `prob` assumes. Dirt is
    light too: for a state brighter than the ideal one both count half, and the light no more than the network.
    """
    states = opinion_loops.States(
        material.site_of_state, material.ideal_states, material.intensities(), np.log(prior).astype(float)
    )
    part = np.ascontiguousarray(np.broadcast_to(part if part.ndim == 2 else part[:, None], prob.shape))
    return opinion_loops.pooled(prob, found, network_weight(part), part, site, states)


class Known(NamedTuple):
    """What is known of the light of S states. relative: (S,) over that of their site's ideal one, None: by the
    material's signals; missing: (S,) see `seen_width.missing`, None: all."""

    relative: np.ndarray | None = None
    missing: np.ndarray | None = None


class Places(NamedTuple):
    """n columns of an image: where they are (n, 2) y, x, of which sublattice (n,), and in which cell (n, 2)."""

    place_px: np.ndarray
    site: np.ndarray
    cell: np.ndarray


def judged(
    prob: np.ndarray,
    image: np.ndarray,
    columns: Places,
    material: Material,
    pixel_nm: float,
    prior: np.ndarray,
    known: Known | None = None,
) -> tuple[np.ndarray, Light, np.ndarray]:
    """(n, S) the network's posterior `prob` (n, S) pooled with the light of the columns, that `Light`, and its weight
    (n,). Arguments as in `measure`, `evidence` and `pooled`."""
    site = columns.site
    light = measure(image, columns.place_px, site, columns.cell, material, pixel_nm)
    scatters = _scatters(light.deviation, site, material)
    part = share(light, site, material, scatters)
    known = known or Known()
    found = evidence(light.deviation, site, material, known.relative, scatters)
    weight = part if known.missing is None else part[:, None] * seen_width.counting(known.missing, 2 / TOGETHER - 1)
    return pooled(prob, found, weight, prior, site, material), light, part


def scatter(deviation: np.ndarray) -> float:
    """Standard deviation of the bulk, from the median absolute deviation; NaN is left out."""
    return max(robust.scatter(deviation, 0.0), 1e-12)


def _sublattices(site: np.ndarray, material: Material) -> list[int]:
    """Sublattices of the lattice with columns enough."""
    enough = np.flatnonzero(np.bincount(site) >= MIN_COLUMNS)
    return [int(g) for g in enough if not material.sites[g].floating]


def _ends(site: np.ndarray, material: Material) -> tuple[int, int] | None:
    """Faintest and brightest sublattice; None where all are alike."""
    signal = material.intensities()[material.ideal_states]
    ordered = sorted(_sublattices(site, material), key=lambda g: signal[g])
    if len(ordered) < 2 or signal[ordered[0]] == signal[ordered[-1]]:
        return None
    return ordered[0], ordered[-1]


def _ratio(
    image: np.ndarray,
    seen: np.ndarray,
    place_px: np.ndarray,
    width_px: float,
    site: np.ndarray,
    around: neighbours.Neighbours,
    ends: tuple[int, int],
) -> float:
    """Signal of the faint sublattice's columns over the bright one's, whatever blur and background.

    On a honeycomb the empty place opposite to a faint column, seen from a bright one, has the same neighbours as it: it
    has background and tails alone (Krivanek et al., Nature 464, 571 (2010), take off such tails column by column). NaN
    where the medians cannot be taken.
    """
    bonded = around.near[:, 0]
    use = np.flatnonzero((site == ends[1]) & (bonded >= 0))
    use = use[site[bonded[use]] == ends[0]]
    opposite = 2 * place_px[use] - place_px[bonded[use]]
    inside = np.flatnonzero(from_border(opposite, image.shape) > 0)
    if len(inside) < MIN_COLUMNS:
        return np.nan
    inside = inside[:: -(-len(inside) // _OPPOSITE)]
    use = use[inside]
    nothing = median(smoothed(image, opposite[inside], width_px))
    on, second = median(seen[use]), median(seen[bonded[use]])
    return float((second - nothing) / max(on - nothing, 1e-12))


def _without_neighbours(deviation: np.ndarray, detail: np.ndarray, near: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Takes off what a column has from its neighbours, as far as these predict the columns of this image (regression):
    the robust mean of the nearest of all sublattices (uneven background) and the sum of the three nearest (the tails of
    a heavy or missing one). near: (n, k) their indices.

    detail: (n,) what was usual near the column beyond what is in a wider field. On even crystal it is noise of few
    columns, which predicts too much to have been taken off: so much is given back, nothing to all of it.
    """
    if np.count_nonzero(np.isfinite(deviation)) < MIN_COLUMNS:
        return deviation
    background, tails = loops.robust_means(deviation, near, _OUTLIER), loops.sums(deviation, near[:, :3])
    terms = loops.three(background, tails, detail)
    slopes = np.zeros((site.max() + 1, 3))
    for g in np.flatnonzero(np.bincount(site)):
        # normal equations of three terms of about one size: a tenth of the time of a factorisation
        limit = _OUTLIER * scatter(deviation[site == g])
        normal, right = loops.normal(deviation, terms, site, g, limit)
        slopes[g] = _solved(normal, right)
        if not -1 <= slopes[g, 2] <= 0:
            slopes[g, 2] = last = np.clip(slopes[g, 2], -1, 0)
            slopes[g, :2] = _solved(normal[:2, :2], right[:2] - last * normal[:2, 2])
    return deviation - loops.summed(slopes, site, terms)


def _solved(normal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(k,) solution of few normal equations; where they are not independent, the shortest one."""
    found, out = loops.solved(normal, right, _DEPENDENT)
    return out if found else np.linalg.lstsq(normal, right, rcond=None)[0]
