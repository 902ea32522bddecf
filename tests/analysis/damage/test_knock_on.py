"""Knock-on cross-sections against the integral over angles and the classical limit."""

import numpy as np
import pytest
from scipy.integrate import quad

from stemdefects.analysis.damage import knock_on

S_Z, S_U = 16, 32.06  # sulfur


@pytest.mark.parametrize("voltage_kv", [80.0, 120.0, 200.0])
def test_an_atom_at_rest_agrees_with_the_integral_over_angles(voltage_kv):
    """McKinley and Feshbach's differential cross-section, over all angles that give the atom more than 6 eV."""
    b2 = 1 - (1 + 1e3 * voltage_kv / 510998.95) ** -2
    energy = 1e3 * voltage_kv
    most = 2 * energy * (energy + 2 * 510998.95) / (S_U * 931.4941e6)  # eV, the atom at rest before
    alpha = np.pi * S_Z * np.sqrt(b2) / 137.035999

    def per_angle(theta):
        s = np.sin(theta / 2)
        shape = (1 - b2 * s**2 + alpha * s * (1 - s)) / s**4
        return 2 * np.pi * np.sin(theta) * (S_Z * 2.8179403e-6 / 2) ** 2 * (1 - b2) / b2**2 * shape

    barn = quad(per_angle, 2 * np.arcsin(np.sqrt(6.0 / most)), np.pi)[0] / 1e-10 if most > 6 else 0.0
    found = knock_on.static_barn(voltage_kv, most, 6.0, S_Z)
    assert found == pytest.approx(barn, rel=1e-6, abs=1e-12)
    assert knock_on.most_energy_ev(voltage_kv, S_U) == pytest.approx(most, rel=1e-4)


def test_motion_is_classical_when_hot_and_never_stops():
    hot = knock_on.mean_square_velocity(S_U, 3000.0, 400.0)
    assert hot == pytest.approx(1.380649e-23 * 3000 / (S_U * 1.66053907e-27), rel=0.01)  # k T / m
    cold = knock_on.mean_square_velocity(S_U, 0.1, 400.0)
    assert cold == pytest.approx(3 / 8 * 1.380649e-23 * 400 / (S_U * 1.66053907e-27), rel=0.01)


def test_motion_opens_the_channel_below_the_threshold_of_an_atom_at_rest():
    still, warm = (float(knock_on.knock_on_barn(70.0, 6.9, S_Z, S_U, v2)) for v2 in (0.0, 8.8e4))
    assert still == 0.0 and 1e-4 < warm < 1.0
