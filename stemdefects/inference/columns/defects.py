"""From the columns of a frame to rows of the defect table: kinds, scores, complexes, patches."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.crystal.complexes import complexes
from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity, exchanged, loops, picture_loops, whole_frame
from stemdefects.inference.columns.lattice import column_lattice
from stemdefects.inference.columns.lattice.floating import view as floating_view
from stemdefects.inference.columns.lattice.sites import SiteView, view
from stemdefects.inference.network.bragg_map import ABSENT
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.inference.specimen import species
from stemdefects.inference.specimen.learned import Specimen
from stemdefects.io.tables import table
from stemdefects.models.ensemble import carried
from stemdefects.numerics.borders import from_border

WHOLE = 0.8  # share of the columns on a lattice from which on it is the frame's
MOST = 0.5  # the same, from which on the lattice is carried on around the columns that lie on it
MAX_RESIDUAL = 0.15  # of the spacing
MAX_CHANGE = 0.15  # of a frame's lattice constant against the expected one
SHARED = 0.75  # of the distance of neighbouring columns: two heavier atoms lie farther apart
REGIONS = ("lattice", "hole", "amorphous", "1T")


@dataclass(frozen=True)
class Rules:
    """When a column is called a defect.

    thresholds: least posterior per kind (`defect`: for kinds not named); exclude_regions: names from `REGIONS`, nothing
    is called there; edge_nm: nothing is called this close to the border of the frame, where a column's neighbours are
    missing; patch_nm: side of the square field of a patch; require_lattice: nothing is called where the frame's own
    Bragg components show no lattice, whatever the network says; specimen: what was learned of the specimen, for the
    light of the columns to be heard too, None: the network judges alone.
    """

    thresholds: dict[str, float] = field(default_factory=dict)
    exclude_regions: tuple[str, ...] = ("hole", "amorphous")
    patch_nm: float = 0.96
    edge_nm: float = 0.15
    require_lattice: bool = True
    specimen: Specimen | None = None

    def threshold(self, kind: str) -> float:
        """Least posterior of a kind to be called."""
        return self.thresholds.get(kind, self.thresholds.get("defect", 0.5))


@dataclass(frozen=True)
class FrameDefects:
    """Rows (n,) of the defect table without frame, time and nm; patches (n, 32, 32); the lattice the columns form;
    called: (n,) which of `columns` the rows are; light: of all columns, see `column_intensity.measure`, NaN if not
    asked; n_withheld: calls not made where there is no lattice.

    Of all columns: prob: (m, S) posterior; ratio: (m,) light, see `site_light`; promised: (m,) bool, the network shows
    no column there; whole: (m,) bool, most of the neighbours of such a place are there; inner: (m,) bool, away from the
    border; second: (m,) light on a second detector, NaN without one. n_contradicted: calls that fell, for their light
    is an ideal column's; brighter: share of an alloyed sublattice's columns that are of its brightest kind, NaN: no
    alloy; told: which sublattice is which could be told, see `exchanged`. weak_rows, weak_patches: of what may be a
    defect of an unknown crystal, where the frame alone does not call it. width_nm: see `seen_width`."""

    rows: np.ndarray
    patches: np.ndarray
    sites: SiteView | None
    columns: Columns
    called: np.ndarray
    light: np.ndarray
    n_withheld: int
    prob: np.ndarray
    ratio: np.ndarray
    promised: np.ndarray
    whole: np.ndarray
    inner: np.ndarray
    second: np.ndarray
    weak_rows: np.ndarray
    weak_patches: np.ndarray
    n_contradicted: int = 0
    brighter: float = np.nan
    told: bool = True
    width_nm: float = np.nan


def shared_atoms(
    columns: Columns, prob: np.ndarray, state: np.ndarray, material: Material, pixel_nm: float
) -> np.ndarray:
    """(n,) bool: calls that fall, for the same bright atom is called on a place beside it.

    An atom that lies between two places (a cluster in a hole of the lattice) looks like one on either. prob: (n,) of
    what is called, 0 where nothing is; state: (n,) the called states. Only states brighter than the ideal one count,
    closer than any two columns of the crystal; of those the most probable stays, of equal ones the first.
    """
    fixed = [s for s in range(material.n_sites) if not material.sites[s].floating]
    falls = np.zeros(len(prob), bool)
    if len(fixed) < 2:
        return falls
    light, ideal = material.intensities(), material.intensities()[list(material.ideal_states)]
    some = np.flatnonzero((prob > 0) & (light[state] > ideal[columns.site]))
    some = some[np.argsort(-prob[some], kind="stable")]
    near = cKDTree(np.stack([columns.y_px, columns.x_px], 1)[some]).query_pairs(SHARED * material.bond_nm / pixel_nm)
    for first, second in sorted(near):
        if not falls[some[first]]:
            falls[some[second]] = True
    return falls


def find_defects(
    output: FrameOutput,
    material: Material,
    rules: Rules,
    vectors_px: np.ndarray | None,
    image_px_nm: float,
    told_apart: bool = False,
) -> FrameDefects:
    """Defective columns of one frame.

    vectors_px: (2, 2) lattice vectors expected in the frame (rows, y and x), None: unknown, then there are no sites and
    no orientations; image_px_nm: sampling of `output.image`; told_apart: `vectors_px` put the sublattices where they
    are in the movie.
    """
    columns, sites = output.columns, None
    if output.hidden is not None:  # nothing is known of them, wrong as they are
        near = output.hidden.near(columns.y_px, columns.x_px, rules.edge_nm / (image_px_nm * output.scale))
        columns = columns.take(~near)
        output = output._replace(columns=columns)
    floating = all(site.floating for site in material.sites)
    moved, told, taught = np.zeros(len(columns.site), bool), True, rules.specimen
    if vectors_px is not None and taught is not None and taught.other_crystal:
        start = _of_frame(output, vectors_px)
        way = exchanged.checked(columns, output.seen, output.scale, start, material, taught.stated, image_px_nm)
        columns, moved, told = way
        output = output._replace(columns=columns)
    if floating and vectors_px is not None:
        place = np.stack([columns.y_px, columns.x_px], 1).astype(float)
        sites = floating_view(place, output, vectors_px)
    elif vectors_px is not None and len(columns.site):
        basis = material.basis
        position = np.stack([columns.y_px, columns.x_px], 1).astype(float)
        sites = _sites(position, output, vectors_px, basis, told_apart)
        if sites is not None and sites.duplicate.any():
            keep = ~sites.duplicate
            columns, moved = columns.take(keep), moved[keep]
            vectors = sites.vectors_px
            sites = view(position[keep], columns.site, columns.presence, vectors, basis, vectors, told_apart=True)
    judging = replace(rules, specimen=None) if floating else rules  # nothing is usual where columns may be anywhere
    seated = whole_frame.Found(columns, moved, sites, _carries_on(sites))
    frame = whole_frame.judged(seated, output, material, judging, image_px_nm)
    columns, sites, prob = frame.columns, frame.sites, frame.prob
    defect, kind, kind_prob = classify(prob, material)
    threshold = np.array([rules.threshold(k.name) for k in material.kinds])
    excluded = np.zeros(len(kind), bool)
    for name in rules.exclude_regions:
        excluded |= columns.region == REGIONS.index(name)
    centres = np.stack([columns.y_px, columns.x_px], 1) * output.scale
    inner = (from_border(centres, output.image.shape) + 0.5) * image_px_nm >= rules.edge_nm
    states = np.array([k.state for k in material.kinds])
    told_at = kind_prob
    if (
        judging.specimen is not None
    ):  # which of some elements it is nobody can tell, that it is one of them all the same
        mates = species.mates(judging.specimen.levels, material)[states[kind]]
        told_at = np.where(mates.sum(1) > 1, (prob * mates).sum(1), kind_prob)
    call = (told_at >= threshold[kind]) & ~excluded & inner
    fallen = call & frame.refused(states[kind], material)
    call &= ~fallen
    call &= ~shared_atoms(columns, np.where(call, told_at, 0.0), states[kind], material, image_px_nm * output.scale)
    asked = np.flatnonzero(call)
    called, weak = asked, np.flatnonzero(~call & inner & ~excluded if floating else np.zeros(len(call), bool))
    if rules.require_lattice and output.lattice is not None and output.lattice.clear:
        there = output.lattice.of_any_grain
        called, weak = (i[~(there(columns.y_px[i], columns.x_px[i]) < ABSENT)] if len(i) else i for i in (asked, weak))
    some = np.concatenate([called, weak])
    rows = table.empty(len(some))
    rows["y_px"], rows["x_px"] = columns.y_px[some], columns.x_px[some]
    rows["sigma_nm"] = columns.sigma_px[some]  # still px; the caller knows the sampling
    rows["score"], rows["kind_prob"] = defect[some], kind_prob[some]
    if columns.state_spread is not None:
        rows["kind_spread"] = _spread(columns, prob, frame.part, states[kind])[some]
    rows["light"] = frame.relative[some]
    names = np.array([k.name.encode() for k in material.kinds], f"S{table.KIND_BYTES}")
    rows["kind"] = names[kind[some]]
    n = len(called)
    if sites is not None and n:
        number, orientation = complexes(sites.cell[called], columns.site[called], states[kind[called]], material)
        rows["complex"][:n], rows["orientation"][:n] = number, orientation
    patches = cut_patches(output.image, centres[some], rules.patch_nm / image_px_nm)
    return FrameDefects(
        rows=rows[:n],
        patches=patches[:n],
        weak_rows=rows[n:],
        weak_patches=patches[n:],
        sites=sites,
        columns=columns,
        called=called,
        light=frame.light,
        n_withheld=len(asked) - len(called),
        prob=prob,
        ratio=frame.ratio,
        promised=frame.promised,
        whole=frame.whole,
        inner=inner,
        second=frame.second,
        n_contradicted=int(fallen.sum()),
        brighter=frame.brighter,
        told=told,
        width_nm=frame.width_nm,
    )


def _sites(
    position: np.ndarray, output: FrameOutput, vectors_px: np.ndarray, basis: np.ndarray, told_apart: bool
) -> SiteView | None:
    """The lattice-site view of a frame that is expected to have about the lattice `vectors_px`; where most columns do
    not lie on that one, of the lattice that they lie on."""
    columns, start = output.columns, _of_frame(output, vectors_px)
    steps = vectors_px @ np.linalg.inv(start)  # the same lattice may be named by other vectors
    whole = np.rint(steps)
    if told_apart and np.abs(steps - whole).max() < MAX_CHANGE and round(abs(np.linalg.det(whole))) == 1:
        sites = view(position, columns.site, columns.presence, whole @ start, basis, vectors_px, told_apart=True)
        if _good(sites):
            return sites
    # a frame of another field may be turned onto the movie's lattice with its sublattices exchanged
    sites = view(position, columns.site, columns.presence, start, basis, vectors_px)
    if _good(sites):
        return sites
    own = column_lattice.fit(position, columns.site, vectors_px)
    other = None if own is None else view(position, columns.site, columns.presence, own, basis, vectors_px)
    return other if _good(other) else sites


def _good(sites: SiteView | None) -> bool:
    """Do nearly all columns lie on the lattice, and near its sites? A lattice too fine has a place for every column."""
    if sites is None or sites.on_lattice.mean() < WHOLE:
        return False
    return sites.residual_px < MAX_RESIDUAL * np.sqrt(abs(np.linalg.det(sites.vectors_px)))


def _carries_on(sites: SiteView | None) -> bool:
    """May the lattice be carried on to places without a column? However the scan bends it, but not where it is so fine
    that it has a place for every column."""
    if sites is None or (len(sites.on_lattice) and sites.on_lattice.mean() < MOST):
        return False
    return sites.residual_px < 2 * MAX_RESIDUAL * np.sqrt(abs(np.linalg.det(sites.vectors_px)))


def _of_frame(output: FrameOutput, vectors_px: np.ndarray) -> np.ndarray:
    """(2, 2) lattice vectors to begin with: those that the frame's own Bragg components say, else the expected ones."""
    lattice = output.lattice
    if lattice is None or not lattice.clear or not np.isfinite(lattice.vectors_px).all():
        return vectors_px
    size = [np.sqrt(abs(np.linalg.det(v))) for v in (lattice.vectors_px, vectors_px)]
    return lattice.vectors_px if abs(size[0] / size[1] - 1) < MAX_CHANGE else vectors_px


def _spread(columns: Columns, prob: np.ndarray, part: np.ndarray, state: np.ndarray) -> np.ndarray:
    """(n,) standard deviation of the posterior `prob` (n, S) of `state` (n,) over the members of an ensemble.

    part: (n,) weight of the light in it.
    """
    assert columns.state_spread is not None  # asked of ensembles only
    rows = np.arange(len(state))
    alone = (prob == columns.state_prob).all(1)
    share = np.where(alone, 1.0, column_intensity.network_weight(part))
    return carried(columns.state_spread[rows, state], columns.state_prob[rows, state], prob[rows, state], share)


def classify(state_prob: np.ndarray, material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Posterior of any defect (n,), most probable kind (n,) and its posterior (n,), from (n, S)."""
    states = np.array([k.state for k in material.kinds], np.int64)
    return loops.classified(np.ascontiguousarray(state_prob), states)


def cut_patches(image: np.ndarray, centres_px: np.ndarray, side_px: float) -> np.ndarray:
    """(n, 32, 32) float16 squares of side `side_px` around `centres_px` (n, 2); 0, the mean, outside the frame."""
    n = table.PATCH_PX
    if not len(centres_px):
        return np.zeros((0, n, n), np.float16)
    return picture_loops.squares(image, np.asarray(centres_px, float), side_px, n).astype(np.float16)
