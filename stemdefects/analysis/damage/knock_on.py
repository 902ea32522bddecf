"""Cross-section for an electron to knock an atom out, with the atom's thermal motion along the beam.

Scattering: McKinley & Feshbach, Phys. Rev. 74, 1759 (1948), integrated over all transfers above the threshold (Seitz &
Koehler, Solid State Phys. 2, 305 (1956)); good for light nuclei (Z < 28). Thermal motion: Meyer et al., Phys. Rev.
Lett. 108, 196102 (2012): an atom that comes towards the electron takes more energy. Excitation: the primary electron's
inelastic cross-section falls as 1/beta^2 (Bethe), apart from a logarithm that varies by a fifth between 40 and 120 kV.
"""

import numpy as np
from numpy.typing import ArrayLike

ELECTRON_EV = 510998.95  # m c^2
NUCLEON_EV = 931.49410e6  # atomic mass unit, c^2
RADIUS_NM = 2.8179403e-6  # classical electron radius
FINE = 1 / 137.035999  # fine-structure constant
LIGHT_M_PER_S = 299792458.0  # exact (SI)
BOLTZMANN_EV = 8.617333e-5  # per K
BARN_NM2 = 1e-10  # 1 barn = 1e-28 m2
# thermal velocities over their rms that are summed over: beyond 9, less than 1e-18 of the atoms; the steps resolve the
# tail where only atoms at 6 and more get enough energy
VELOCITIES = np.linspace(-9, 9, 721)


def beta_squared(voltage_kv: ArrayLike) -> np.ndarray:
    """(v / c)^2 of the beam's electrons."""
    return 1 - 1 / (1 + 1e3 * np.asarray(voltage_kv, float) / ELECTRON_EV) ** 2


def most_energy_ev(voltage_kv: ArrayLike, mass_u: float, velocity_m_per_s: ArrayLike = 0.0) -> np.ndarray:
    """Most energy (eV) that an electron gives an atom of `mass_u` that comes towards it at a velocity."""
    energy = 1e3 * np.asarray(voltage_kv, float)
    mass = mass_u * NUCLEON_EV
    over_c = np.asarray(velocity_m_per_s, float) / LIGHT_M_PER_S
    own = 0.5 * mass * over_c**2
    r = np.sqrt(energy * (energy + 2 * ELECTRON_EV)) + mass * over_c
    t = np.sqrt((energy + own) * (energy + own + 2 * ELECTRON_EV))
    return (r + t) ** 2 / (2 * mass)


def static_barn(voltage_kv: ArrayLike, most_ev: ArrayLike, threshold_ev: ArrayLike, charge: int) -> np.ndarray:
    """Cross-section (barn) of transfers between a threshold and the most energy; arrays are broadcast."""
    b2 = beta_squared(voltage_kv)
    b = np.sqrt(b2)
    x = np.maximum(np.asarray(most_ev, float) / threshold_ev, 1.0)
    a = np.pi * charge * FINE * b
    total = x - 1 - b2 * np.log(x) + a * (2 * (np.sqrt(x) - 1) - np.log(x))
    return np.pi * (charge * RADIUS_NM) ** 2 * (1 - b2) / b2**2 * total / BARN_NM2


def mean_square_velocity(mass_u: float, temperature_k: float, debye_k: float) -> float:
    """Of an atom along one direction, m^2/s^2, in the Debye model, its motion at zero temperature included."""
    x = np.linspace(1e-6, debye_k / max(temperature_k, 1e-3), 4001)
    integral = np.trapezoid(x**3 / np.expm1(np.minimum(x, 500)), x)
    energy = 3 / 8 * debye_k + 3 * temperature_k * (temperature_k / debye_k) ** 3 * integral  # kinetic twice, K
    return float(BOLTZMANN_EV * energy / (mass_u * NUCLEON_EV) * LIGHT_M_PER_S**2)


def knock_on_barn(
    voltage_kv: ArrayLike, threshold_ev: ArrayLike, charge: int, mass_u: float, velocity2_m2_per_s2: ArrayLike
) -> np.ndarray:
    """Cross-section (barn), averaged over the atom's thermal velocity along the beam.

    Args:
        voltage_kv: (...) of the beam.
        threshold_ev: (...) energy that removes an atom at rest; broadcast with the voltage.
        charge, mass_u: of the nucleus.
        velocity2_m2_per_s2: (...) mean square velocity along the beam, 0: at rest; broadcast with both.
    """
    voltage, threshold, velocity2 = (
        np.asarray(given, float) for given in (voltage_kv, threshold_ev, velocity2_m2_per_s2)
    )
    weight = np.exp(-0.5 * VELOCITIES**2)
    velocity = VELOCITIES * np.sqrt(velocity2)[..., None]
    most = most_energy_ev(voltage[..., None], mass_u, velocity)
    each = static_barn(voltage[..., None], most, threshold[..., None], charge)
    return each @ weight / weight.sum()


def excitation_barn(voltage_kv: ArrayLike, at_80_kv: float) -> np.ndarray:
    """Cross-section (barn) of a channel that needs one excitation, given what it is at 80 kV."""
    return at_80_kv * beta_squared(80.0) / beta_squared(voltage_kv)
