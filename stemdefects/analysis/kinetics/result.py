"""What the sampler says: posterior draws, and every quantity with its interval and a code for what cannot be said."""

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from stemdefects.analysis.kinetics import lattice, quantities
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.posterior import centre_states, counted, faint
from stemdefects.analysis.kinetics.posterior.convergence import Check
from stemdefects.analysis.kinetics.priors import Priors
from stemdefects.analysis.kinetics.quantities import Code, Quantity

if TYPE_CHECKING:
    from stemdefects.analysis.kinetics.sampler.chain import Data, Sums


class Kinetics(NamedTuple):
    """Posterior of the lattice model. Draws are `(chains, draws, ...)`; sites are numbered as in the evidence."""

    code: Code  # OK, NONE (no vacancies), CANNOT_TELL (too little to infer from), NOT_CONVERGED
    rates: np.ndarray  # (chains, draws, 15) 1/s, by `lattice.Rate`
    events: np.ndarray  # (chains, draws, 15) events of each process in the sampled histories
    exposure: np.ndarray  # (chains, draws, 15) s
    light: np.ndarray  # (chains, draws, 4) scale of the level, neighbours' shift, spread of offsets, noise factor
    mobile: np.ndarray  # (chains, draws) share of vacancy time off centres that is mobile
    counts: np.ndarray  # (chains, draws, T, 3) single off centres, single at bonds, double; where `allowed`
    occupancy: np.ndarray  # (T, N, 2) posterior probability of one and of two vacancies; NaN where nothing is said
    transition: np.ndarray  # (8, 8, 3) chance per median frame of a centre's states, with its 95% interval
    transitions_seen: np.ndarray  # (8, 8) mean number of such changes in the sampled histories
    histories: list  # sampled histories (start, time_s, events: from, to, layer), sites numbered by `sites.original`
    estimates: list[Quantity]
    checks: dict  # R-hat and effective samples of the headlines
    none: float  # posterior probability that no vacancy was ever seen off the centres, against a prior of 1/2
    sites: lattice.Sites
    times_s: np.ndarray
    chains: list  # the chains' states: hand the result back to `infer(resume=...)` to go on
    slots: int
    prior: Priors | None = None  # of the rates, densities and light; None where nothing was inferred
    apart: float = np.nan  # scatters between the readings of a full site and of one vacancy; NaN: not inferred

    def estimate(self, name: str) -> Quantity:
        """The quantity of that name."""
        return next(q for q in self.estimates if q.name == name)

    @property
    def counted_nm2(self) -> float:
        """Mean area in which vacancies are counted, of the frames that show anything: a cell for each site."""
        sites = np.isfinite(self.occupancy[..., 0]).sum(1)
        cell_nm2 = np.sqrt(3) / 2 * self.sites.hop_nm**2  # six neighbours at that distance
        return float(sites[sites > 0].mean() * cell_nm2) if sites.any() else 0.0

    def identities(self, sample: int) -> np.ndarray:
        """Number of the vacancy on every site in every frame, `(T, N)`, -1: none, in one sampled history."""
        start, time, events = self.histories[sample]
        a, b = events[:, 0], events[:, 1]
        n_sites = self.occupancy.shape[1]
        who = np.full(len(start), -1)
        here = np.flatnonzero(start)
        who[here] = np.arange(len(here))
        fresh, e = len(here), 0
        shown = np.full((len(self.times_s), n_sites), -1)
        for f, now in enumerate(self.times_s):
            while e < len(time) and time[e] < now:
                mover = who[a[e]] if a[e] >= 0 else fresh
                fresh += int(a[e] < 0)
                if a[e] >= 0:
                    who[a[e]] = -1
                if b[e] >= 0:
                    who[b[e]] = mover
                e += 1
            shown[f, self.sites.original] = who
        return shown


class Run(Protocol):
    """What `gather` takes of a run of the chains: its input, what each chain kept, and where to go on."""

    data: "Data"
    sums: "list[Sums]"
    samples: list[list]
    chains: list
    slots: int


class Records(NamedTuple):
    """What the chains kept, `(chains, draws, ...)`, the checks of their agreement, and whether they agree."""

    draws: np.ndarray
    sums: np.ndarray
    counts: np.ndarray
    checks: dict[str, Check]
    converged: bool


def nothing(evidence: Evidence, place: lattice.Sites) -> Kinetics:
    """The answer where nothing can be inferred: too few frames or sites."""
    n_frames, n = np.asarray(evidence.line).shape
    none = np.zeros((0, 0, lattice.N_RATES))
    return Kinetics(
        code=Code.CANNOT_TELL,
        rates=none,
        events=none,
        exposure=none,
        light=np.zeros((0, 0, 4)),
        mobile=np.zeros((0, 0)),
        counts=np.zeros((0, 0, n_frames, 3)),
        occupancy=np.full((n_frames, n, 2), np.nan),
        transition=np.full((8, 8, 3), np.nan),
        transitions_seen=np.zeros((8, 8)),
        histories=[],
        estimates=[],
        checks={},
        none=np.nan,
        sites=place,
        times_s=np.asarray(evidence.times_s, float),
        chains=[],
        slots=6,
    )


def gather(
    evidence: Evidence,
    place: lattice.Sites,
    prior: Priors,
    run: Run,
    records: Records,
) -> Kinetics:
    """Put the chains' records together."""
    from stemdefects.analysis.kinetics.sampler import rates

    draws, sums, counts, checks, converged = records
    n_draws = draws.shape[0] * draws.shape[1]
    n_frames, n = np.asarray(evidence.line).shape
    occupancy = np.full((n_frames, n, 2), np.nan)
    occupancy[:, place.original] = sum(s.occupancy for s in run.sums) / max(n_draws, 1)
    # a site without a reading in a frame that was looked at (the network shows no column where both atoms are missing)
    # is known by its history; one off the field, or in a hole, is not
    looked_at = np.isfinite(evidence.line).any(axis=1, keepdims=True)
    occupancy[~(evidence.allowed & looked_at)] = np.nan
    none = quantities.probability_of_none(sums, place, prior, np.ptp(run.data.times))
    code = Code.OK if converged else Code.NOT_CONVERGED
    if none > 0.5 and converged:
        code = Code.NONE
    exposure = sums[..., rates.EXPOSURE : rates.EXPOSURE + lattice.N_RATES].copy()
    events = sums[..., : lattice.N_RATES].copy()
    events[..., lattice.Rate.HOP] += sums[..., rates.COUNT_OUT] + sums[..., rates.COUNT_IN]
    exposure[..., lattice.Rate.HOP] += sums[..., rates.EXPOSURE_OUT]
    exposure[..., lattice.Rate.HOP] += draws[..., lattice.RHO] * sums[..., rates.EXPOSURE_IN]
    off = sums[..., rates.TIME_SINGLE] + sums[..., rates.TIME_STILL]
    mobile = np.where(off > 0, sums[..., rates.TIME_SINGLE] / np.maximum(off, 1e-12), 1.0)
    bound = np.zeros(n, bool)
    bound[place.original] = place.centre >= 0
    blur = counted.Blur(
        counted.split_share(float(np.ptp(evidence.yx_nm[place.original, 0])), place.hop_nm),
        counted.at_the_border(occupancy, evidence.inside_nm, bound),
    )
    posterior = quantities.Posterior(draws, sums, events, exposure, counts, mobile, none, converged)
    said = quantities.estimates(posterior, place, prior, run.data, blur)
    step = float(np.median(np.diff(run.data.times)))
    distance = faint.apart(run.data, draws[..., lattice.SCALE])
    said = faint.of_faint(said, distance)
    if faint.too_fast(draws[..., 0], step):
        said = faint.of_fast(said, distance)
    seen = np.sum([s.turns for s in run.sums], axis=0) / max(n_draws, 1)
    return Kinetics(
        code=code,
        rates=draws[..., : lattice.N_RATES],
        events=events,
        exposure=exposure,
        light=draws[..., [20, 21, 19, 22]],
        mobile=mobile,
        counts=counts,
        occupancy=occupancy,
        transition=centre_states.transition(draws, events, exposure, step)
        if len(place.bonds)
        else np.full((8, 8, 3), np.nan),
        transitions_seen=seen,
        histories=[h for held in run.samples for h in held],
        estimates=said,
        checks=checks,
        apart=distance,
        none=none,
        sites=place,
        times_s=run.data.times,
        chains=run.chains,
        slots=run.slots,
        prior=prior,
    )


__all__ = ["Code", "Enum", "Kinetics", "Quantity", "gather", "nothing"]
