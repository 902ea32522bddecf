"""What a movie of the independent simulator is: its settings, drawn from ranges by a seed, and its kinds (`VARIANTS`).

Ranges: hop rates of 0.003-0.02 per s and neighbour, 5-23 V_S and 10-15 centres in 7.7 nm, drift of 1-2 pm a frame with
steps, as vacancies in WS2:Mo movies at 60-100 kV have; images as microscopes give them (see `render`).
"""

from dataclasses import asdict, dataclass, field, replace

import numpy as np

from benchmarks.independent.kinetics import Rates

VARIANTS = {
    "plain": "vacancies hop, centres exchange with a reservoir",
    "lattice": "centres catch from, and release into, the lattice",
    "still": "nothing hops; centres turn and release, as they do in the plain ones",
    "frozen": "nothing moves at all",
    "none": "no vacancies, in the lattice or at centres",
    "creation": "the beam makes vacancies, one every few frames",
    "fast": "hops ten times as fast: about one to three a frame",
    "gaps": "frames are missing, a pause, and another frame time after it",
    "strain": "1-2% of uniform strain and shear, and a bend",
    "immobile": "a half of the vacancies never moves",
    "pairs": "V_S2 form from V_S and fall apart",
    "hole": "a hole opens and grows to a tenth of the field",
}


@dataclass(frozen=True)
class Scene:
    """Everything that decides a movie. Rates in 1/s, lengths in nm, angles in radians, densities per site."""

    variant: str = "plain"
    seed: int = 0
    n_frames: int = 60
    field_px: int = 256
    pixel_size_nm: float = 0.03
    frame_time_s: float = 2.25
    dose_e_per_px: float = 1200.0
    # kinetics
    rates: Rates = field(default_factory=Rates)
    reservoir: bool = True
    vacancies: float = 15.0  # in a field of 256 px
    empty: float = 3.0
    centres: float = 12.0
    metal_vacancies: float = 2.0
    immobile_share: float = 0.0
    caught_share: float = 0.3
    # geometry
    rotation: float = 0.0
    strain: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # yy, yx, xy, xx
    bend_nm: float = 0.0
    drift_nm_per_frame: float = 0.0015
    drift_steps: int = 1
    jitter_px: tuple[float, float] = (0.05, 0.25)  # rms of rows, y and x
    hole_radius_nm: float = 0.0
    # images
    probe: str = "plain"
    blur_nm: float = 0.045
    relaxation: float = 1.0
    tail: tuple[float, float] = (0.27, 0.27)  # FWHM and share of the plain probe's tail
    s2_to_w: float = 0.17
    s_to_s2: float = 0.5
    background: float = 0.12  # of the crystal's mean
    film: float = 0.08
    film_nm: float = 1.5
    pulse_spread: float = 0.4  # of an electron's pulse, standard deviation over mean
    afterglow_px: float = 0.2
    gain: float = 40.0
    offset: float = 80.0
    read_noise: float = 8.0
    line_gain: float = 0.01

    def to_dict(self) -> dict:
        """For JSON."""
        return asdict(self)


def draw(variant: str, seed: int, dose: float, field_px: int, n_frames: int, probes: list[str]) -> Scene:
    """The scene of this number: every setting from its range, the variant's own on top.

    probes: names of the probes to choose from; `plain` is the one of two Gaussians.
    """
    rng = np.random.default_rng([seed, 7])
    u = rng.uniform
    rates = Rates(
        hop=float(np.exp(u(*np.log([0.003, 0.02])))), attach=u(0.002, 0.006), detach=u(0.01, 0.03), turn=u(0.008, 0.02)
    )
    scene = Scene(
        variant=variant,
        seed=seed,
        n_frames=n_frames,
        field_px=field_px,
        dose_e_per_px=dose,
        rates=rates,
        vacancies=u(4, 19),
        empty=u(0, 4),
        centres=u(10, 15),
        metal_vacancies=u(0, 4),
        rotation=u(0, 2 * np.pi),
        drift_nm_per_frame=u(0.001, 0.002),
        drift_steps=int(rng.integers(0, 3)),
        jitter_px=(0.05, u(0.1, 0.4)),
        probe=str(rng.choice(probes)),
        blur_nm=u(0.022, 0.036),
        relaxation=u(0, 1.5),
        tail=(u(0.22, 0.32), u(0.2, 0.35)),
        s2_to_w=u(0.16, 0.18),
        s_to_s2=u(0.47, 0.53),
        background=u(0.0, 0.12),
        film=u(0.02, 0.12),
        film_nm=u(0.8, 2.5),
        pulse_spread=u(0.1, 0.45),
        afterglow_px=u(0, 0.35),
        gain=u(20, 80),
        offset=u(40, 120),
        read_noise=u(2, 10),
        strain=tuple(float(s) for s in u(-0.003, 0.003, 4)),
    )
    only_turns = replace(rates, hop=0.0)
    return {
        "plain": lambda: scene,
        "lattice": lambda: replace(scene, reservoir=False, rates=replace(rates, attach=rates.hop * u(1.5, 4))),
        "still": lambda: replace(scene, rates=only_turns),
        "frozen": lambda: replace(scene, rates=Rates()),
        "none": lambda: replace(scene, vacancies=0.0, empty=0.0, caught_share=0.0, rates=Rates()),
        # 660 sites in 256 px: so many vacancies appear in 135 s
        "creation": lambda: replace(
            scene, vacancies=u(2, 6), rates=replace(rates, create=u(8, 25) / 135 / 660, knock=u(0, 4e-4))
        ),
        "fast": lambda: replace(scene, rates=replace(rates, hop=u(0.08, 0.22))),
        "gaps": lambda: scene,
        "strain": lambda: replace(
            scene, strain=tuple(float(s) for s in rng.choice([-1, 1], 4) * u(0.006, 0.02, 4)), bend_nm=u(0.02, 0.06)
        ),
        "immobile": lambda: replace(scene, immobile_share=0.5),
        "pairs": lambda: replace(
            scene, vacancies=u(15, 25), rates=replace(rates, pair=u(0.02, 0.06), split=u(0.01, 0.03))
        ),
        "hole": lambda: replace(scene, hole_radius_nm=u(1.0, 1.5)),
    }[variant]()


def number(variant: str, seed: int, dose: float) -> int:
    """Seed of the movie `seed` of a series: movies of two doses or variants have nothing in common."""
    return int(dose) * 10**7 + list(VARIANTS).index(variant) * 10**5 + seed


def starts_s(scene: Scene) -> np.ndarray:
    """(n_frames,) recorded start of every frame: one after the other, but for `gaps` (six frames at least)."""
    length = np.full(scene.n_frames, scene.frame_time_s)
    if scene.variant == "gaps":
        rng = np.random.default_rng([scene.seed, 8])
        length[scene.n_frames // 2 :] *= rng.choice([0.6, 1.6])
        pauses = rng.choice(np.arange(1, scene.n_frames - 1), 4, replace=False)
        length[pauses] += scene.frame_time_s * np.array([1, 2, 4, rng.integers(8, 20)])
    return np.concatenate([[0.0], np.cumsum(length)[:-1]])
