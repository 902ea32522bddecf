"""From the evidence to posterior draws: priors, chains, convergence."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemdefects.analysis.kinetics import lattice, result
from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.lattice import (
    KNEE,
    N_PARAMETERS,
    N_RATES,
    NOISE,
    RHO,
    RHO_BOND,
    RHO_TWO,
    SCALE,
    SCALE_TWO,
    SHIFT,
    TAU,
    TAU_BOND,
    Rate,
)
from stemdefects.analysis.kinetics.posterior.convergence import Check, check
from stemdefects.analysis.kinetics.priors import Priors, priors
from stemdefects.schema import KineticsConfig

if TYPE_CHECKING:
    from stemdefects.analysis.kinetics.sampler.chain import Data


CHUNK = 10  # sweeps between two looks at the chains, and between two histories that are kept
APART = 1.3  # R-hat from which chains have not yet come to the same place: what they did so far was warm-up
BULK = 2.5  # scatters from the site's median: farther readings may be of a vacancy
SPARE = 5  # slots more than vacancies: for those that appear, and for parts that belong together
USUAL_KNEE = 2.3  # scatters: of ten independent movies the median
MORE = 10  # and one more for so many: the number of many goes on rising, and a sweep in which they do not fit is lost


_USUAL = KineticsConfig()  # every number and what it is good for stand there


class Settings(NamedTuple):
    """How long and how wide to sample: see `schema.KineticsConfig`, whose `effective_samples` is `effective` here."""

    chains: int = _USUAL.chains
    threads: int = _USUAL.threads
    warmup: int = _USUAL.warmup
    sweeps: int = _USUAL.sweeps
    max_sweeps: int = _USUAL.max_sweeps
    r_hat: float = _USUAL.r_hat
    effective: float = _USUAL.effective_samples
    max_work: float = _USUAL.max_work
    rough_sweeps: int = _USUAL.rough_sweeps


DEFAULTS = Settings()


def infer(
    evidence: Evidence,
    settings: Settings = DEFAULTS,
    prior: Priors | None = None,
    key: int = 0,
    progress: Callable[[float], None] | None = None,
    resume: "result.Kinetics | None" = None,
) -> "result.Kinetics":
    """Sample histories, rates and light of the lattice model; `progress` is called with the share done.

    The answer is a function of the arguments alone: chains have their own random streams, threads only share the work.
    `resume` goes on from the chains of an earlier answer to the same evidence.
    """
    place = lattice.sites(evidence)
    times = np.asarray(evidence.times_s, float)
    if len(times) < 2 or len(place.kind) < 3 or not np.all(np.diff(times) > 0):
        return result.nothing(evidence, place)
    prior = priors(evidence, len(place.kind)) if prior is None else prior
    run = _Run(evidence, place, prior, settings, key, resume)
    target = settings.sweeps
    affordable = int(settings.max_work / (len(place.kind) * len(times)))
    total = settings.warmup + max(min(settings.max_sweeps, affordable), settings.sweeps)
    while True:
        run.go(target, progress)
        draws, sums, counts = run.arrays()
        checks = monitor(draws, sums, counts, place)
        fine = all(c.agrees(settings.r_hat, settings.effective) for c in checks.values())
        rough = all(c.roughly() or c.agrees(settings.r_hat, settings.effective) for c in checks.values())
        left = total - run.done
        if fine or left <= 0 or (rough and target >= settings.rough_sweeps):
            return result.gather(evidence, place, prior, run, result.Records(draws, sums, counts, checks, fine))
        longer = target + target // 2
        if left > longer and max(c.r_hat for c in checks.values()) > APART:
            run.forget()
            target = longer
        else:
            target = min(longer, target + left)


def monitor(draws: np.ndarray, sums: np.ndarray, counts: np.ndarray, place: lattice.Sites) -> dict[str, Check]:
    """R-hat and effective samples of the quantities that are headlines, `(chains, draws)` each."""
    checks = {
        "hop": check(draws[..., Rate.HOP]),
        # by differences of 2% too: in a large movie nearly every hop is sure, the few that are not change D by nothing,
        # and their R-hat would keep the chains at work
        "hops": check(sums[..., Rate.HOP], 1.0),
        "level": check(draws[..., SCALE], 1.0),
        "single": check(counts[..., :2].sum(3).mean(2), 1.0),
        "double": check(counts[..., 2].mean(2), 1.0),
    }
    if len(place.bonds):
        for rate in (Rate.ATTACH, Rate.DETACH, Rate.TURN):
            checks[rate.name.lower()] = check(draws[..., rate])
    return checks


class _Run:
    """The chains of one inference and what they have recorded."""

    def __init__(self, evidence, place, prior, settings, key, resume):
        from stemdefects.analysis.kinetics.sampler import chain, draws

        self.chain, self.settings, self.place = chain, settings, place
        self.data, self.table = data_of(evidence, place, prior), chain.table(place)
        n = len(place.kind)
        self.two = bool(np.isfinite(evidence.level[1]))
        self.slots = SPARE + max(n // 12, 1)
        self.tau = float(prior.light[1])
        self.done = 0
        self.thrown = settings.warmup
        self.forget()
        if resume is not None:
            self.chains, self.done, self.slots = list(resume.chains), settings.warmup, resume.slots
        else:
            start = first_parameters(evidence, self.data, prior)
            self.chains = [chain.begin(n, start, 2048, draws.seeded(key, c)) for c in range(settings.chains)]

    def forget(self) -> None:
        """What was recorded so far was warm-up."""
        n, self.thrown = len(self.place.kind), max(self.done, self.thrown)
        self.kept: list = [[] for _ in range(self.settings.chains)]
        self.samples: list = [[] for _ in self.kept]
        shape = (len(self.data.times), n, 2)
        self.sums = [self.chain.Sums(np.zeros(shape), np.zeros((8, 8))) for _ in self.kept]

    def go(self, target: int, progress) -> None:
        """Run all chains until each has kept `target` sweeps."""
        with ThreadPoolExecutor(max(1, min(self.settings.threads, self.settings.chains))) as pool:
            while self.done < self.thrown + target:
                warm = self.done < self.thrown
                n = min(CHUNK, self.thrown - self.done if warm else self.thrown + target - self.done)
                every = range(len(self.chains))
                list(pool.map(self._chunk, every, [n] * len(every), [not warm] * len(every)))
                self.done += n
                if warm:
                    self._fit_slots()
                if progress:
                    progress(min(self.done / (self.thrown + target), 1.0))

    def _chunk(self, c: int, n: int, record: bool) -> None:
        left, plan = n, self.chain.Plan(self.slots, 1, self.two)
        while left:
            state = self.chains[c]
            recorded, data = self.chain.recorder(left, len(self.data.times)), self.data
            if not record and self.done < self.settings.warmup // 2:
                # offsets held near 0 until the vacancies are found: else they take up one that stays on its site; hops
                # held rare: else a crowd that hops all over the place takes up the noise, and a chain stays there
                free = data.free.copy()
                free[[TAU, TAU_BOND, Rate.HOP]] = False
                data, state.parameters[[TAU, TAU_BOND]] = data._replace(free=free), 0.1 * self.tau
            room = self.chain.work_for(state)
            totals = self.sums[c] if record else None
            did, full = self.chain.advance(plan, self.table, data, state, room, recorded, totals)
            if full:
                self.chains[c] = self.chain.enlarge(state)
            if record:
                self.kept[c].append(tuple(part[:did] for part in recorded))
            left -= did
        if record:
            h, m = self.chains[c].history, int(self.chains[c].history.n[0])
            self.samples[c].append((h.start.copy(), h.time[:m].copy(), h.ev[:m].copy()))

    def _fit_slots(self) -> None:
        """Slots for the most vacancies at a time, of all chains, and a few to spare. Few: a stay that was cut in two is
        mended when both parts fall to one slot."""
        most = max(self.chain.most_at_once(c.history) for c in self.chains)
        self.slots = most + SPARE + most // MORE

    def arrays(self):
        """Draws `(chains, draws, ...)` of parameters, sums of histories and counts."""
        return tuple(np.stack([np.concatenate([part[k] for part in kept]) for kept in self.kept]) for k in range(3))


def data_of(evidence: Evidence, place: lattice.Sites, prior: Priors) -> "Data":
    """The sampler's input: the sites that take part, with weight 0 where nothing was seen."""
    from stemdefects.analysis.kinetics.sampler import chain

    allowed = evidence.allowed[:, place.original]
    line = np.asarray(evidence.line, float)[:, place.original]
    seen = np.isfinite(line) & allowed
    scatter = np.broadcast_to(np.asarray(evidence.scatter, float), (len(line),))
    usable = np.isfinite(scatter) & (scatter > 0)
    weight = np.where(seen & usable[:, None], 1.0 / np.where(usable, scatter, 1.0)[:, None] ** 2, 0.0)
    counts_for = 1.0 / (1.0 - min(neighbours_correlate(line, weight, place), 0.0))
    level = np.asarray(evidence.level, float)
    level = np.where(np.isfinite(level), level, 2.0 * level[0])
    return chain.Data(
        line=np.where(weight > 0, line, 0.0),
        weight=weight * counts_for,
        level=level,
        bounds=np.array([evidence.scale_low, evidence.scale_high], float),
        times=np.asarray(evidence.times_s, float),
        counted=allowed.copy(),
        shape=np.asarray(prior.shape, float),
        scale=np.asarray(prior.scale, float),
        density=np.asarray(prior.density, float),
        mixing=np.asarray(prior.mixing, float),
        light=np.append(np.asarray(prior.light, float), counts_for),
        free=np.ones(N_PARAMETERS, bool),
    )


def neighbours_correlate(line: np.ndarray, weight: np.ndarray, place: lattice.Sites) -> float:
    """Correlation of the bulk's readings (T, n) at neighbouring sites of a frame.

    A column's light is compared with its neighbours', so that theirs counts against it: -.03 to -.1 on movies of an
    independent simulator. A hop is told by the difference of two neighbours, whose variance is larger by as much; taken
    as independent, readings of a correlation of -.08 gave 9% more hops than there were.
    """
    first = place.near[:, :3]  # each pair once
    with np.errstate(invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # sites that no frame shows
        z = np.where(weight > 0, line, np.nan) * np.sqrt(weight)
        z -= np.nanmedian(z, 0)
        z[~(np.abs(z) < BULK)] = np.nan
        pairs = np.concatenate([z[:, first[:, k] >= 0] * z[:, first[first[:, k] >= 0, k]] for k in range(3)], 1)
        value = np.nanmean(pairs) / np.nanmean(z**2)
    return float(value) if np.isfinite(value) else 0.0


def first_parameters(evidence: Evidence, data: "Data", prior: Priors) -> np.ndarray:
    """Where chains begin: slow processes, few vacancies, ideal light."""
    step = float(np.median(np.diff(data.times)))
    start = np.zeros(N_PARAMETERS)
    start[:N_RATES] = 0.01 / step
    start[Rate.HOP] = 0.02 / step
    start[Rate.APPEAR] = prior.shape[Rate.APPEAR] / prior.scale[Rate.APPEAR]
    start[[RHO, RHO_TWO, RHO_BOND]] = 0.02, 0.005, 0.2
    start[[TAU, TAU_BOND]], start[SHIFT], start[NOISE] = prior.light[1], 0.0, 1.0
    start[KNEE] = USUAL_KNEE * np.sqrt(data.light[5])
    start[[SCALE, SCALE_TWO]] = min(max(1.0, evidence.scale_low), evidence.scale_high)
    return start
