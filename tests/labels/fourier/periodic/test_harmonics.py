"""Where a lattice is strong, against images of grains whose columns were drawn."""

import dataclasses

import numpy as np
import pytest

from stemdefects.labels.fourier.periodic.harmonics import local_amplitude
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from tests.labels.fourier.periodic.test_periodic import HEXAGONAL, render, sites, turned

SHAPE = (256, 256)


@pytest.mark.parametrize("degrees", [12.0, 21.0])  # near 21.8 degrees two grains share some of their faint harmonics
@pytest.mark.parametrize("covered", [False, True])
def test_grains_are_told_by_what_is_strong_not_by_what_is_clear_in_the_whole_frame(degrees, covered):
    """A faint harmonic far out may stand highest above the little noise there: in a small window it is all noise."""
    rng = np.random.default_rng(round(degrees))
    parts = [sites(SHAPE, turned(HEXAGONAL, a)) for a in (5.0, 5.0 + degrees)]
    alone = [render(SHAPE, yx, np.full(len(yx), 4.0)) for yx in parts]
    frame = rng.poisson(np.where(np.arange(SHAPE[1]) < 128, alone[0], alone[1]) + 0.5).astype(np.float32)
    dirt = np.zeros(SHAPE, bool)
    if covered:
        dirt[180:, 90:170] = True
        frame[dirt] += rng.poisson(80.0, dirt.sum())
    strength = []
    for image in alone:
        lattice = find_lattice(rng.poisson(image + 0.5).astype(np.float32))
        far = np.linalg.norm(lattice.peaks @ lattice.reciprocal, axis=1)
        lattice = dataclasses.replace(lattice, snr=far)
        amplitude = local_amplitude(frame, lattice, dirt)
        assert amplitude[~dirt].max() > 0
        strength.append(amplitude / np.quantile(amplitude[~dirt], 0.9))
    second = np.argmax(strength, 0) == 1
    x = np.broadcast_to(np.arange(SHAPE[1]), SHAPE)
    assert not second[(x < 113) & ~dirt].any() and second[(x > 143) & ~dirt].all()
