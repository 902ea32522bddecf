"""All places of a frame's lattice judged together: the columns the network found, and the places it shows none at, by
the network's opinion, by their light, and by what was learned of the specimen.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice import neighbours, promised, seen_width
from stemdefects.inference.columns.lattice.sites import NOWHERE, SiteView
from stemdefects.inference.network.bragg_map import ABSENT
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.inference.specimen import learned, light_levels, local_scatter, second_light, site_light
from stemdefects.models.probability import claimed

MOST = 0.8  # of a place's neighbours that must be there, five of six: at the edge of a hole fewer are
LIT = 0.5  # of an ideal column's light: something is there
UNMOVED = 0.25  # of the way to a state's level: light that moved less contradicts it
MOSTLY = 0.5  # share of the columns on the other sublattice than the network says, for it to be wrong of the whole
TOLD_APART = 3.0  # scatters between two levels, for light to contradict a call


class Judged(NamedTuple):
    """Of m columns and places: columns and sites as the network's, places after them; prob: (m, S); light, part: of
    `column_intensity.judged`; ratio: of `site_light`; relative: (m,) the same over the level of an ideal column of its
    own kind; promised, whole, brighter: see `defects.FrameDefects`; specimen: that they were judged by; second: (m,)
    light on a second detector; overruled: the network took the sublattices for each other, and what it shows no column
    at may be anything; width_nm: see `seen_width`."""

    columns: Columns
    sites: SiteView | None
    prob: np.ndarray
    light: np.ndarray
    part: np.ndarray
    ratio: np.ndarray
    relative: np.ndarray
    promised: np.ndarray
    whole: np.ndarray
    brighter: float
    specimen: learned.Specimen | None
    second: np.ndarray
    overruled: bool = False
    width_nm: float = np.nan

    def refused(self, state: np.ndarray, material: Material) -> np.ndarray:
        """(m,) bool: may this column not be called this `state` (m,)? Its light is an ideal column's, or it is a place
        that the network shows nothing at, and lacks nothing or stands at the edge of a hole."""
        signal, site = material.intensities(), self.columns.site
        ideal = material.ideal_states[site]
        dirt = (signal[state] >= signal[ideal]) & (not self.overruled)  # is bright too
        out = self.promised & (~self.whole | dirt)
        if self.specimen is None:
            return out
        known = self.specimen.levels
        step = known.level[state] / np.maximum(known.level[ideal], 1e-9) - 1
        scatter = known.scatter[site] / np.maximum(known.level[ideal], 1e-9)
        moved = (self.relative - 1) / np.where(step == 0, 1, step)
        with np.errstate(invalid="ignore"):
            return out | ((np.abs(step) > TOLD_APART * scatter) & (moved < UNMOVED))


class Found(NamedTuple):
    """Columns of a frame on the lattice of `sites`; moved: (n,) bool, those that the network took for another
    sublattice's; carries_on: nearly all lie on the lattice, so that it can be carried on."""

    columns: Columns
    moved: np.ndarray
    sites: SiteView | None
    carries_on: bool


def judged(found: Found, output: FrameOutput, material: Material, rules: Any, image_px_nm: float) -> Judged:
    """See `Judged`. rules: `defects.Rules`; image_px_nm: sampling of the network's image."""
    columns, moved, sites, good = found
    seen = output.seen
    taught, n = rules.specimen, len(columns.site)
    if taught is None or sites is None:
        nothing = np.full(n, np.nan)
        none = np.zeros(n, bool)
        return Judged(
            columns=columns,
            sites=sites,
            prob=columns.state_prob,
            light=nothing,
            part=np.zeros(n),
            ratio=nothing,
            relative=nothing,
            promised=none,
            whole=~none,
            brighter=np.nan,
            specimen=taught,
            second=nothing,
        )
    if good and (taught.by_light or taught.other_crystal):
        columns, sites, moved = _seated(columns, sites, material, moved)
        n = len(columns.site)
    if good:
        columns, sites = _with_places(columns, sites, output, material, rules.edge_nm / image_px_nm, taught.stated)
    m = len(columns.site)
    moved = np.append(moved, np.zeros(m - n, bool))
    strange = moved if not taught.by_light else np.arange(m) < n
    if strange.any():
        unknown = np.where(strange[:, None], _unknown(columns.site, taught.stated, material), columns.state_prob)
        columns = columns._replace(state_prob=unknown)
    place = np.stack([columns.y_px, columns.x_px], 1).astype(float) * output.scale
    light, part, empty, prob = np.full(m, np.nan), np.zeros(m), np.arange(m) >= n, columns.state_prob.copy()
    smooth, width_nm, vectors = None, taught.width_nm, sites.vectors_px * output.scale
    if not taught.by_light:
        if np.isnan(width_nm):
            width_nm = seen_width.nm(seen, place[:n], columns.site[:n], material, vectors)
        prob[:n], measured, part[:n] = column_intensity.judged(
            prob[:n],
            seen,
            column_intensity.Places(place[:n], columns.site[:n], sites.cell[:n]),
            material,
            image_px_nm,
            taught.stated,
            column_intensity.Known(_learned(taught, material), seen_width.missing(width_nm, material)),
        )
        light[:n], smooth = measured.deviation, measured.smoothed
    prob = claimed.calibrated(prob, columns.site, np.isfinite(light), taught.claim, taught.stated, material)
    prob = learned.reweighted(prob, taught.stated, taught.prior)
    places = column_intensity.Places(place, columns.site, sites.cell)
    lights = site_light.measure(seen, places, material, vectors, image_px_nm, smooth)
    ratio = lights.ratio
    ratio[~sites.on_lattice] = np.nan
    relative = light_levels.relative(ratio, columns.site, taught.levels, material)
    ring = np.zeros((0, 1), int)
    if empty.any():
        ring = neighbours.ring(sites.cell, columns.site, material)[empty]
    there = np.append(~empty | (relative > LIT), False)
    around = np.stack([there[ring].sum(1), (there & np.append(empty, False))[ring].sum(1)], 1)
    strangers = taught.levels.alloyed | light_levels.foreign(taught.levels, material)
    by_light = np.flatnonzero(empty | moved | taught.by_light | strangers[columns.site])
    site = columns.site[by_light]
    wider = local_scatter.of_places(ratio, columns.site, sites.cell, empty | moved, taught.levels, material)[by_light]
    known = taught.levels._replace(share=taught.prior)
    told, blank = light_levels.posterior(ratio[by_light], site, known, material, wider), empty[by_light]
    told[blank] = learned.not_shown(told[blank], site[blank], around, taught, material)
    prob[by_light] = np.where((told.sum(1) > 0)[:, None], told, _unknown(site, taught.prior, material))
    second = np.full(m, np.nan)
    if output.second is not None:
        raw, pixel_nm = place / output.scale, image_px_nm * output.scale
        second = site_light.measure(
            output.second, places._replace(place_px=raw), material, sites.vectors_px, pixel_nm
        ).ratio
        second[~sites.on_lattice] = np.nan
        if taught.second is not None:
            said = second_light.likelihood(ratio, second, columns.site, taught.levels, taught.second, material)
            prob = second_light.heard(prob, said)
    whole = np.ones(m, bool)
    whole[empty] = around[:, 0] / ring.shape[1] >= MOST
    dark = np.flatnonzero(empty & (relative < LIT) & (columns.site == lights.unit))
    light_beside = site_light.beside(seen, dark, place, lights.compared, material, vectors, image_px_nm)
    whole[dark[light_beside > _strayed(material)]] = False
    brighter = light_levels.brighter(ratio, columns.site, taught.levels)
    overruled = bool(moved[:n].mean() > MOSTLY)
    return Judged(
        columns, sites, prob, light, part, ratio, relative, empty, whole, brighter, taught, second, overruled, width_nm
    )


def _strayed(material: Material) -> float:
    """Light beside a dark place of the brightest sublattice from which on its atom stands there, over what a column
    has: half way between what a column of it and of the next brightest sublattice has."""
    light = -np.sort(-material.intensities()[material.ideal_states][_fixed(material)])
    return 1.0 if len(light) < 2 else float(0.5 * (1 + light[1] / light[0]))


def _learned(taught: learned.Specimen, material: Material) -> np.ndarray:
    """(S,) light of the states over that of their site's ideal one: what the frames say of species of another element
    that are there, by the material's signals the rest."""
    signal, ideal = material.intensities(), material.ideal_states[material.site_of_state]
    stated = signal / np.maximum(signal[ideal], 1e-9)
    found = taught.levels.level / np.maximum(taught.levels.level[ideal], 1e-9)
    counts = material.species_counts()
    swapped = (counts.sum(1) == counts[ideal].sum(1)) & (counts != counts[ideal]).any(1)
    return np.where(swapped & (taught.low > 0), found, stated)


def _unknown(site: np.ndarray, prior: np.ndarray, material: Material) -> np.ndarray:
    """(n, S) how common the states of each column's sublattice are."""
    return np.where(material.site_of_state[None] == site[:, None], prior, 0.0).astype(np.float32)


def _seated(
    columns: Columns, sites: SiteView, material: Material, moved: np.ndarray
) -> tuple[Columns, SiteView, np.ndarray]:
    """Every column on the place of the lattice that it stands at; of two on one place the surer one; and those among
    them, bool, that the network took for another sublattice's, as it did those `moved` before."""
    position = np.stack([columns.y_px, columns.x_px], 1).astype(float)
    cell, site = promised.seated(position, columns.site.astype(int), sites, material.basis, _fixed(material))
    on = cell[:, 0] != NOWHERE
    order = np.lexsort((-columns.presence, ~on))
    key = np.column_stack([np.where(on[:, None], cell, np.arange(len(cell))[:, None]), site, on])[order]
    _, first = np.unique(key, axis=0, return_index=True)
    keep = np.sort(order[first])
    moved = moved[keep] | (site[keep] != columns.site[keep])
    columns = columns.take(keep)._replace(site=site[keep])
    return columns, replace(sites, cell=cell[keep].astype(np.int32), duplicate=np.zeros(len(keep), bool)), moved


def _with_places(
    columns: Columns, sites: SiteView, output: FrameOutput, material: Material, margin_px: float, prior: np.ndarray
) -> tuple[Columns, SiteView]:
    """The columns, and after them the places of the lattice without one, where there is a lattice at all."""
    if output.lattice is not None and not output.lattice.clear:
        return columns, sites
    position = np.stack([columns.y_px, columns.x_px], 1).astype(float)
    shape = tuple((n - 1) / output.scale + 1 for n in output.image.shape)
    found = promised.places(
        position,
        columns.site.astype(int),
        sites,
        promised.Crystal(material.basis, _fixed(material), material.lattice_nm),
        promised.Picture(output.seen, output.scale, shape),
        margin_px / output.scale,
    )
    y, x = found.place_px.T
    if not len(y):
        return columns, sites
    use = np.ones(len(y), bool)
    if output.lattice is not None:
        use &= output.lattice.at(y, x) >= ABSENT
    if output.hidden is not None:
        use &= ~output.hidden.near(y, x, margin_px / output.scale)
    site, n = found.site[use].astype(columns.site.dtype), int(use.sum())
    added = Columns(
        y_px=y[use].astype(np.float32),
        x_px=x[use].astype(np.float32),
        sigma_px=np.full(n, sites.residual_px, np.float32),
        site=site,
        state_prob=_unknown(site, prior, material),
        presence=np.zeros(n, np.float32),
        region=np.zeros(n, columns.region.dtype),
        state_spread=None if columns.state_spread is None else np.full((n, material.n_states), np.nan, np.float32),
    )
    pairs = zip(columns, added, strict=True)
    both = Columns._make(None if a is None or b is None else np.concatenate([a, b]) for a, b in pairs)
    cell = np.concatenate([sites.cell, found.cell[use].astype(sites.cell.dtype)])
    return both, replace(sites, cell=cell, duplicate=np.append(sites.duplicate, np.zeros(n, bool)))


def _fixed(material: Material) -> np.ndarray:
    return np.array([not s.floating for s in material.sites])
