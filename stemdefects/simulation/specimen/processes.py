"""What may happen to the defects of a movie, as its config says: which states take part, and how often."""

from collections.abc import Sequence
from dataclasses import dataclass

from stemdefects.crystal.material import Material
from stemdefects.schema import MovieConfig, SimulationConfig
from stemdefects.simulation.optics import stage as stages

NM2_PER_BARN = 1e-10  # 1 barn = 1e-28 m2


@dataclass(frozen=True)
class Rates:
    """All in 1/s. `hop` is that of one vacancy to one given free neighbour; factors multiply it at the source.

    `damage` is that of a whole column of the mobile sublattice to lose an atom, `damage_second` of one that has lost
    one (None: alike), both times `damage_beside` where a neighbour lacks an atom; `fill` that of a column to get one
    back; `other` that of a column of another sublattice to be lost.
    """

    hop: float = 0.0
    pair_factor: float = 1.0
    line_factor: float = 1.0
    attach: float = 0.0
    detach: float = 0.0
    switch: float = 0.0
    attach_second: float = 0.0
    detach_second: float = 0.0
    switch_second: float = 0.0
    damage: float = 0.0
    damage_second: float | None = None
    damage_beside: float = 1.0
    fill: float = 0.0
    other: float = 0.0
    nucleation: float = 0.0
    hole: float = 0.0
    exchange: float = 0.0
    hole_radius_nm: float = 0.35


@dataclass(frozen=True)
class Roles:
    """Which states take part: mobile vacancy, what it becomes when it loses another atom, centre, empty columns."""

    mobile: int
    emptied: int  # state of a mobile-sublattice column that has lost both atoms; -1: none
    center: int  # -1: none
    other_lost: tuple[int, ...] = ()  # by sublattice, what an ideal column becomes when the beam takes it; -1: stays


def roles(material: Material, cfg: SimulationConfig) -> Roles:
    """States that take part in the kinetics, from the names in `cfg.movie`."""
    mobile = stages.mobile_state(material, cfg)
    site = material.states[mobile].site
    empty_states = [i for i, s in enumerate(material.states) if s.site == site and not s.atoms and i != mobile]
    emptied = next((i for i in empty_states if material.kind_of_state[i] >= 0), -1)
    if cfg.movie.center_kind is not None:
        center = material.kinds[material.kind_index(cfg.movie.center_kind)].state
    else:
        center = material.complexes[0].center if material.complexes else -1
    if center >= 0 and material.states[center].site == site:  # a centre holds vacancies of another sublattice
        center = -1
    return Roles(mobile, emptied, center, tuple(_emptied(material, g, site) for g in range(material.n_sites)))


def _emptied(material: Material, site: int, mobile_site: int) -> int:
    """State of a column without atoms of a sublattice that nothing moves on; -1: the material has none."""
    ideal = material.sites[site].ideal
    wanted = [i for i, s in enumerate(material.states) if s.site == site and not s.atoms and i != ideal]
    return wanted[0] if wanted and site != mobile_site else -1


def rates(cfg: SimulationConfig, pixel_size_nm: float, dose_e_per_px: float) -> Rates:
    """Rates in 1/s from `cfg.movie`, beam damage from the dose rate."""
    m = cfg.movie
    flux = dose_e_per_px / pixel_size_nm**2 / m.frame_time_s  # electrons per nm2 and second
    return Rates(
        hop=m.hop_rate_per_s,
        pair_factor=m.pair_factor,
        line_factor=m.line_factor,
        attach=m.attach_rate_per_s,
        detach=m.detach_rate_per_s,
        switch=m.switch_rate_per_s,
        attach_second=m.attach_second_rate_per_s,
        detach_second=m.detach_second_rate_per_s,
        switch_second=m.switch_second_rate_per_s,
        damage=m.damage_cross_section_nm2 * flux,
        damage_second=None if m.damage_second_cross_section_nm2 is None else m.damage_second_cross_section_nm2 * flux,
        damage_beside=m.damage_beside_factor,
        fill=m.fill_cross_section_nm2 * flux,
        other=m.metal_cross_section_nm2 * flux,
        nucleation=m.hole_cross_section_nm2 * flux,
        hole=m.hole_rate_per_s,
        exchange=m.exchange_rate_per_s,
        hole_radius_nm=m.hole_radius_nm,
    )


def cross_sections_barn(movie: MovieConfig, n_atoms: int, others: Sequence[str]) -> dict[str, float]:
    """What the beam does in this movie, by the names of `analysis.damage.risks`: barn per atom, of filling per column
    that lacks one, of the `others` (sublattices) per column. n_atoms: of an ideal column of the mobile sublattice."""
    first, beside = movie.damage_cross_section_nm2 / n_atoms, movie.damage_beside_factor
    second = movie.damage_second_cross_section_nm2
    second = movie.damage_cross_section_nm2 if second is None else second
    out = {
        "first atom, isolated": first,
        "first atom, beside a vacancy": first * beside,
        "second atom, isolated": second,
        "second atom, beside a vacancy": second * beside,
        "filling": movie.fill_cross_section_nm2,
    }
    if beside == 1:  # else that of all depends on how many lay beside vacancies
        out |= {"first atom": first, "second atom": second}
    out |= {f"{name} column": movie.metal_cross_section_nm2 for name in others}
    return {name: value / NM2_PER_BARN for name, value in out.items()}
