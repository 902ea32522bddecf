"""Image formation and its truth against brute force, analytic cases and statistics."""

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stemdefects import config
from stemdefects.crystal import material
from stemdefects.simulation import images, statistics
from stemdefects.simulation.optics import detector, probe, scan
from stemdefects.simulation.specimen import population
from stemdefects.simulation.specimen.growth import AMORPHOUS, HOLE, LATTICE, PHASE_1T

WS2 = material.load("ws2_mo")
TRAIN = config.load_group("simulation", "train")
CLEAN = config.load_group("simulation", "clean")
SIZE = (64, 64)
N_KEYS = 24


@pytest.fixture(scope="module")
def batch():
    """Training images of every kind, with everything random switched on."""
    cfg = copy.deepcopy(TRAIN)
    cfg.regions.hole_probability = cfg.regions.amorphous_probability = 0.5
    cfg.regions.phase_1T_probability = cfg.regions.twin_probability = cfg.defects.line_probability = 0.5
    simulate = images.make_simulator(WS2, cfg, SIZE)
    keys = jax.random.split(jax.random.key(1), N_KEYS)
    return simulate, keys, jax.device_get(jax.jit(jax.vmap(simulate))(keys))


def no_regions(cfg):
    """Crystal and point defects alone; what is left out takes most of the compilation."""
    for name in ("hole", "amorphous", "phase_1T", "twin"):
        setattr(cfg.regions, f"{name}_probability", 0.0)
    cfg.defects.line_probability = 0.0


def _probe(**changes):
    values = dict(
        voltage_kv=80.0,
        semi_angle_mrad=30.0,
        C10_nm=1.0,
        C12_nm=1.0,
        phi12_rad=0.3,
        C21_nm=20.0,
        phi21_rad=1.0,
        C23_nm=15.0,
        phi23_rad=2.0,
        C30_nm=300.0,
        blur_sigma_nm=0.03,
    )
    return probe.Probe(**{k: jnp.asarray(v) for k, v in {**values, **changes}.items()})


def test_wavelengths_are_the_textbook_ones():
    for voltage, picometres in ((60, 4.866), (80, 4.176), (100, 3.701), (200, 2.508), (300, 1.969)):
        assert probe.wavelength_nm(jnp.asarray(float(voltage))) == pytest.approx(1e-3 * picometres, rel=2e-4)


def test_an_aberration_free_probe_is_an_airy_disc():
    from scipy.special import j1

    none = dict(C10_nm=0.0, C12_nm=0.0, C21_nm=0.0, C23_nm=0.0, C30_nm=0.0)
    sampling, n = 0.01, 512
    found = np.fft.fftshift(np.asarray(probe.psf(_probe(**none), n, sampling)))[n // 2, n // 2 : n // 2 + 12]
    wavelength = float(probe.wavelength_nm(jnp.asarray(80.0)))
    v = 2 * np.pi * 0.03 / wavelength * sampling * np.arange(1, 12)
    airy = np.append(1.0, (2 * j1(v) / v) ** 2)
    assert np.abs(found / found[0] - airy).max() < 5e-3


def test_columns_are_drawn_at_their_exact_places():
    """Against the direct Fourier sum over columns, with the same transfer function."""
    table = probe.optics(SIZE, 12, 72, 1)
    rng = np.random.default_rng(0)
    y, x, weight = rng.uniform(-2, 66, 40), rng.uniform(-2, 66, 40), rng.uniform(0.2, 2, 40)
    transfer = np.asarray(probe.transfer(_probe(), table, 0.03))
    found = np.fft.irfft2(
        np.asarray(probe.spread(jnp.array(y), jnp.array(x), jnp.array(weight), table)) * transfer, table.padded_px
    )
    fy, fx = np.fft.fftfreq(table.padded_px[0]), np.fft.rfftfreq(table.padded_px[1])
    wave_y = np.exp(-2j * np.pi * np.outer(fy, y + 12))
    wave_x = np.exp(-2j * np.pi * np.outer(x + 12, fx))
    true = np.fft.irfft2((wave_y * weight) @ wave_x * transfer, table.padded_px)
    assert np.abs(found - true).max() < 2e-4 * true.max()
    assert found.sum() == pytest.approx(weight.sum(), rel=1e-4)


def test_oversampled_and_plain_transfer_agree_where_nothing_folds():
    plain = probe.transfer(_probe(), probe.optics((128, 128), 12, 108, 1), 0.02)
    fine = probe.transfer(_probe(), probe.optics((128, 128), 12, 216, 2), 0.02)
    assert np.abs(np.asarray(plain - fine)).max() < 5e-3


def test_row_jitter_moves_rows_exactly():
    y, x = np.mgrid[0:64, 0:96]
    picture = np.exp(-0.5 * (((y - 30.2) / 3) ** 2 + ((x - 47.6) / 3) ** 2))
    move = scan.Rows(jnp.array(np.linspace(-0.4, 0.4, 40)), jnp.array(2 * np.sin(np.arange(40.0))))
    lines = scan.shift_rows(jnp.fft.rfft(jnp.array(picture), axis=1), move, jnp.fft.rfftfreq(96), 12, 40)
    found = np.fft.irfft(np.asarray(lines), 96, axis=1)
    rows = np.arange(40.0) + 12
    true = np.exp(
        -0.5 * (((rows - move.y_px)[:, None] - 30.2) ** 2 + (np.arange(96) - move.x_px[:, None] - 47.6) ** 2) / 9
    )
    assert np.abs(found - true).max() < 6e-3


def test_the_mean_of_a_clean_image_is_the_cross_section_times_the_dose():
    cfg = copy.deepcopy(CLEAN)
    cfg.defects.density_scale = 0.0
    image, truth = jax.jit(images.make_simulator(WS2, cfg, (128, 128)))(jax.random.key(0))
    expected = WS2.intensities(100.0)[WS2.ideal_states].sum() * WS2.cross_section_nm2(100.0) / WS2.cell_area_nm2
    assert image.mean() == pytest.approx(expected * cfg.detector.dose_e_per_px[0], rel=0.01)
    per_site = (128 * 0.0324) ** 2 / WS2.cell_area_nm2
    assert int(truth.valid.sum()) == pytest.approx(2 * per_site, rel=0.04)


@pytest.mark.parametrize("row_jitter_px", [0.0, 0.5])
def test_truth_positions_are_where_the_distorted_image_shows_the_columns(row_jitter_px):
    """Centroids of W columns at high dose, with every distortion of the scan."""
    cfg = copy.deepcopy(TRAIN)
    no_regions(cfg)
    cfg.detector.dose_e_per_px = [1e6, 1e6]
    cfg.scan.row_jitter_px = [row_jitter_px, row_jitter_px]
    cfg.scan.drift_px, cfg.scan.flyback_px, cfg.scan.slow_jitter_px = [4.0, 4.0], [1.5, 1.5], [0.8, 0.8]
    for name in ("C12_nm", "C21_nm", "C23_nm"):  # odd aberrations move the maximum away from the column
        setattr(cfg.probe, name, [0.0, 0.0])
    frames, truth = jax.device_get(
        jax.jit(jax.vmap(images.make_simulator(WS2, cfg, SIZE)))(jax.random.split(jax.random.key(5), 6))
    )
    errors = []
    for b, image in enumerate(frames):
        metal = truth.valid[b] & (truth.state[b] == WS2.state_index("W"))
        for y, x in zip(truth.y_px[b][metal], truth.x_px[b][metal], strict=True):
            row, column = round(float(y)), round(float(x))
            if 4 <= row < 60 and 4 <= column < 60:
                patch = image[row - 3 : row + 4, column - 3 : column + 4].astype(float)
                weight = np.clip(patch - np.percentile(patch, 40), 0, None) ** 2
                offsets = np.arange(-3, 4)
                found = np.array([(weight.sum(1) * offsets).sum(), (weight.sum(0) * offsets).sum()]) / weight.sum()
                errors.append(found + np.array([row - y, column - x]))
    errors = np.array(errors)
    assert len(errors) > 100
    assert np.abs(np.median(errors, 0)).max() < 0.05
    assert np.median(np.abs(errors)) < 0.05 + 0.2 * row_jitter_px  # columns next to defects are pulled aside


def test_the_same_key_gives_the_same_image_alone_in_a_batch_and_without_jit(batch):
    simulate, keys, (frames, truth) = batch
    image, single = jax.device_get(jax.jit(simulate)(keys[3]))
    assert np.abs(image - frames[3]).max() <= 1e-3 * frames[3].max() + 1.0  # a count may fall on the other side
    assert (np.abs(image - frames[3]) < 1e-3 * frames[3].max()).mean() > 0.99
    assert np.array_equal(single.state, truth.state[3])


def test_frames_without_jit_are_those_with_it():
    """Op by op, from the placed crystal on: probe, scan, detector."""
    cfg = config.load_group("simulation", "typical")
    stage = images.make_stage(WS2, cfg, (24, 24))
    conditions = images.draw_conditions(jax.random.key(0), WS2, cfg)

    @jax.jit
    def crystal_of(key):
        _, state, columns = images.grow_states(key, stage, conditions)
        return images.grow(key, stage, conditions, state, columns)

    crystal = crystal_of(jax.random.key(1))

    def expose(key):
        return images.expose(key, stage, conditions, crystal, jnp.zeros(2))

    one = jax.device_get(jax.jit(expose)(jax.random.key(2)))
    with jax.disable_jit():
        two = jax.device_get(expose(jax.random.key(2)))
    assert np.abs(one[1] - two[1]).max() < 1e-3
    assert (np.abs(one[0] - two[0]) <= 1.0).mean() > 0.99  # rounding may move a count


def test_no_two_columns_lie_on_top_of_each_other():
    """Whatever the scan does: columns far outside must not be thrown into the field."""
    cfg = copy.deepcopy(TRAIN)
    cfg.scan.flyback_px, cfg.scan.drift_px = [1.5, 1.5], [4.0, 4.0]
    cfg.regions.twin_probability = cfg.regions.phase_1T_probability = cfg.regions.amorphous_probability = 0.0
    stage = images.make_stage(WS2, cfg, (96, 96))

    @jax.jit
    @jax.vmap
    def places(key):
        conditions = images.draw_conditions(key, WS2, cfg)
        _, state, columns = images.grow_states(key, stage, conditions)
        crystal = images.grow(key, stage, conditions, state, columns)
        _, y, x, _ = images.project(key, stage, conditions, crystal, jnp.zeros(2))
        return jnp.stack([y, x], -1), conditions.pixel_size_nm

    found, pixel_nm = jax.device_get(places(jax.random.split(jax.random.key(0), 8)))
    for place, size in zip(found, pixel_nm, strict=True):
        inside = place[((place > -10) & (place < 106)).all(1)]
        distance = np.linalg.norm(inside[:, None] - inside[None], axis=2)
        np.fill_diagonal(distance, np.inf)
        assert distance.min() * size > 0.75 * WS2.a_nm / np.sqrt(3)


def test_images_and_truth_are_finite_and_nothing_overflows(batch):
    _, _, (frames, truth) = batch
    assert np.isfinite(frames).all()
    listed = (truth.y_px > -1e3).sum(1)
    assert listed.max() < truth.y_px.shape[1]  # room is left: no column was dropped
    for b in range(N_KEYS):
        y, x = truth.y_px[b][truth.valid[b]], truth.x_px[b][truth.valid[b]]
        assert (y >= -0.5).all() and (y < 63.5).all() and (x >= -0.5).all() and (x < 63.5).all()
        site, state = truth.site[b][truth.valid[b]], truth.state[b][truth.valid[b]]
        assert (WS2.site_of_state[state] == site).all()


def test_regions_hold_no_valid_columns_and_take_their_share(batch):
    _, _, (_, truth) = batch
    seen = {label: (truth.regions == label).mean() for label in (HOLE, AMORPHOUS, PHASE_1T)}
    assert all(0.005 < share < 0.3 for share in seen.values())
    wrong = total = 0
    for b in range(N_KEYS):
        rows = np.clip(np.round(truth.y_px[b][truth.valid[b]]).astype(int), 0, 63)
        columns = np.clip(np.round(truth.x_px[b][truth.valid[b]]).astype(int), 0, 63)
        wrong += (truth.regions[b][rows, columns] != LATTICE).sum()
        total += len(rows)
    assert wrong / total < 0.005


def test_densities_and_orientations_are_the_ones_asked_for():
    cfg = copy.deepcopy(TRAIN)
    no_regions(cfg)
    asked = {"V_S": 0.05, "V_S2": 0.02, "V_W": 0.01, "Mo_W": 0.04}
    cfg.defects.density = {k.name: [asked.get(k.name, 0.0)] * 2 for k in WS2.kinds}
    cfg.defects.complexes = {"Mo_W+V_S": [0.3, 0.3], "Mo_W+2V_S": [0.1, 0.1]}
    _, truth = jax.device_get(
        jax.jit(jax.vmap(images.make_simulator(WS2, cfg, (96, 96))))(jax.random.split(jax.random.key(2), 64))
    )
    kind = WS2.kind_of_state[truth.state]
    for name in ("V_S2", "V_W", "Mo_W"):
        index = WS2.kind_index(name)
        site = WS2.states[WS2.kinds[index].state].site
        n = (truth.valid & (truth.site == site)).sum()
        found = (truth.valid & (kind == index)).sum()
        assert abs(found - asked[name] * n) < 6 * np.sqrt(asked[name] * n)  # images differ in clustering
    single = truth.valid & (truth.complex_kind == 0) & (kind == WS2.kind_index("Mo_W"))
    dopants = (truth.valid & (kind == WS2.kind_index("Mo_W"))).sum()
    assert 0.2 < single.sum() / dopants < 0.5
    turns = np.bincount(truth.orientation[single], minlength=3)
    assert stats.chisquare(turns).pvalue > 1e-3
    checked = 0
    for b, n in np.argwhere(single):
        partner = (truth.complex[b] == truth.complex[b, n]) & truth.valid[b]
        partner[n] = False
        if partner.sum() != 1:
            continue  # beyond the edge of the image
        vector = np.array(
            [(truth.y_px[b][partner] - truth.y_px[b, n])[0], (truth.x_px[b][partner] - truth.x_px[b, n])[0]]
        )
        angle = np.arctan2(vector[0], vector[1]) - truth.angle_rad[b]
        assert truth.orientation[b][partner][0] == truth.orientation[b, n]
        expected = np.deg2rad(30.0 + 120.0 * int(truth.orientation[b, n]))
        assert abs(np.angle(np.exp(1j * (angle - expected)))) < 0.35
        checked += 1
    assert checked > 40


def test_a_twin_boundary_is_a_mirror_without_overlapping_columns():
    cfg = copy.deepcopy(CLEAN)
    cfg.regions.twin_probability = 1.0
    cfg.defects.density_scale = 0.0
    cfg.view.rotation_deg = [0.0, 0.0]
    _, truth = jax.device_get(jax.jit(images.make_simulator(WS2, cfg, (128, 128)))(jax.random.key(1)))
    place = np.stack([truth.y_px, truth.x_px], 1)[truth.valid] * 0.0324
    site = truth.site[truth.valid]
    distance = np.linalg.norm(place[:, None] - place[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.99 * WS2.a_nm / np.sqrt(3)  # bonds only: nothing on top of each other
    inner = (np.abs(place - place.mean(0)) < 1.5).all(1)
    metal = np.flatnonzero((site == 0) & inner)
    ways = [np.sign(place[np.argsort(distance[m])[:3]] - place[m])[:, 0].sum() for m in metal]
    assert {-1.0, 1.0} <= {float(np.sign(w)) for w in ways}  # bonds point up on one side and down on the other
    shared = ((distance < 1.05 * WS2.a_nm / np.sqrt(3)) & (site[None] == 0)).sum(1)[(site == 1) & inner]
    assert set(shared.tolist()) == {3, 4}  # chalcogens on the boundary have four metals: 4|4P


def test_relaxation_moves_the_neighbours_of_a_vacancy_towards_it():
    from stemdefects.crystal import lattice

    disc = lattice.disc(WS2, 1.5)
    slots = population.slots(WS2, disc)
    center = int(np.argmin(np.linalg.norm(disc.position_nm, axis=1) + 9 * (disc.site != 1)))
    state = np.array(slots.ideal)
    state[center] = WS2.state_index("V_chalcogen")
    moved = np.asarray(population.relax(slots, WS2, jnp.array(state), 1.0))
    near = disc.bonds[center]
    assert set(np.flatnonzero(np.linalg.norm(moved, axis=1) > 1e-9)) == set(near)
    for n in near:
        toward = disc.position_nm[center] - disc.position_nm[n]
        assert moved[n] @ toward / np.linalg.norm(toward) == pytest.approx(0.010, abs=1e-5)


@pytest.mark.parametrize("mean", [0.2, 2.0, 9.5, 10.5, 25.0, 300.0])
def test_poisson_numbers_have_the_poisson_distribution(mean):
    numbers = np.asarray(detector.poisson(jax.random.key(4), jnp.full((40000,), mean)))
    edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 25), mean))
    counts = np.diff([0, *[(numbers <= e).sum() for e in edges], len(numbers)])
    chance = np.diff([0, *stats.poisson.cdf(edges, mean), 1])
    assert stats.chisquare(counts, chance * len(numbers)).pvalue > 1e-4
    assert numbers.mean() == pytest.approx(mean, abs=4 * np.sqrt(mean / 40000))


def _detector(**changes):
    values = dict(
        dose_e_per_px=1000.0, pulse_spread=0.0, afterglow_px=0.0, line_gain=0.0, read_noise_e=0.0, gain=1.0, offset=0.0
    )
    return detector.Detector(**{k: jnp.asarray(v) for k, v in {**values, **changes}.items()})


def test_detector_effects_have_the_variance_and_the_reach_they_say():
    flat = jnp.full((128, 128), 0.02)
    key = jax.random.key(0)
    plain = np.asarray(detector.detect(key, flat, _detector(), True, False, None))
    assert plain.var() == pytest.approx(20, rel=0.05)
    spread = np.asarray(detector.detect(key, flat, _detector(pulse_spread=1.0), True, False, None))
    assert spread.var() == pytest.approx(40, rel=0.05)
    read = np.asarray(detector.detect(key, flat, _detector(read_noise_e=3.0), True, False, None))
    assert read.var() == pytest.approx(29, rel=0.06)
    glow = np.asarray(detector.detect(key, flat, _detector(afterglow_px=1.0), True, False, None))
    assert glow.mean() == pytest.approx(20, rel=0.02)
    centred = glow - glow.mean()
    along = (centred[:, 1:] * centred[:, :-1]).mean() / centred.var()
    assert along == pytest.approx(np.exp(-1), abs=0.05)
    assert abs((centred[1:] * centred[:-1]).mean() / centred.var()) < 0.03
    lines = np.asarray(detector.detect(key, flat * 1e4, _detector(line_gain=0.1), True, False, None))
    assert (lines.mean(1) / lines.mean()).std() == pytest.approx(0.1, rel=0.2)
    counts = np.asarray(detector.detect(key, flat, _detector(gain=20.0, offset=50.0), True, True, 400.0))
    assert np.array_equal(counts, np.round(counts)) and counts.max() <= 400.0 and counts.min() >= 0.0


def test_clips_show_one_crystal_and_their_truth_is_that_of_the_middle_frame():
    cfg = copy.deepcopy(TRAIN)
    no_regions(cfg)
    cfg.detector.dose_e_per_px = [1e6, 1e6]
    cfg.clip.drift_px, cfg.clip.hop_probability = [1.0, 1.0], [0.0, 0.0]
    key = jax.random.key(3)
    frames, truth = jax.jit(images.make_clip_simulator(WS2, cfg, SIZE, 5))(key)
    assert frames.shape == (5, *SIZE)
    metal = np.asarray(truth.valid & (truth.state == WS2.state_index("W")))
    rows = np.clip(np.round(np.asarray(truth.y_px)[metal]).astype(int), 0, 63)
    columns = np.clip(np.round(np.asarray(truth.x_px)[metal]).astype(int), 0, 63)
    brightness = [np.asarray(f)[rows, columns].mean() / np.asarray(f).mean() for f in frames]
    assert int(np.argmax(brightness)) == 2
    assert len({round(float(np.asarray(f).mean()), 3) for f in frames}) == 5  # each frame has noise of its own


def test_hops_of_a_clip_conserve_the_vacancies():
    from stemdefects.crystal import lattice

    disc = lattice.disc(WS2, 3.0)
    slots = population.slots(WS2, disc)
    state = np.array(slots.ideal)
    vacancy = WS2.state_index("S")
    state[np.random.default_rng(0).choice(np.flatnonzero(disc.site == 1), 60, replace=False)] = vacancy
    after = np.asarray(population.hop(jax.random.key(0), slots, jnp.array(state), vacancy, 0.5))
    assert (after == vacancy).sum() == 60
    gone, came = (
        np.flatnonzero((state == vacancy) & (after != vacancy)),
        np.flatnonzero((state != vacancy) & (after == vacancy)),
    )
    assert 10 < len(gone) < 50
    assert all(set(disc.hops[n]) & set(gone) for n in came)


def test_typical_frames_have_the_statistics_of_the_reference_movie():
    cfg = config.load_group("simulation", "typical")
    simulate = jax.jit(images.make_simulator(WS2, cfg, (512, 512)))
    found = []
    for seed in range(3):
        image, truth = simulate(jax.random.key(seed))
        found.append(statistics.frame_statistics(image, float(truth.pixel_size_nm), WS2.a_nm, float(truth.angle_rad)))
    assert np.mean([f["lattice_over_noise"] for f in found]) == pytest.approx(0.48, abs=0.15)
    assert np.mean([f["ratio_110_100"] for f in found]) == pytest.approx(0.05, abs=0.01)
    assert 0.115 <= cfg.probe.source_fwhm_nm[0] <= 0.12 and cfg.probe.source_fwhm_nm[0] == cfg.probe.source_fwhm_nm[1]


def test_other_materials_make_images_too():
    plain = copy.deepcopy(TRAIN)
    no_regions(plain)
    for name, cfg in (("graphene_si", TRAIN), ("mose2", plain)):
        stuff = material.load(name)
        image, truth = jax.jit(images.make_simulator(stuff, cfg, (48, 48)))(jax.random.key(0))
        assert np.isfinite(np.asarray(image)).all() and int(truth.valid.sum()) > 20


def test_signals_of_a_crystal_that_stands_for_many_are_drawn_per_image():
    """Log-uniform in their ranges; the light of the states is what is told, but for the spread."""
    from scipy import stats

    many = material.load("tmd")
    cfg = copy.deepcopy(CLEAN)
    draw = jax.jit(jax.vmap(lambda key: images.draw_conditions(key, many, cfg)))
    drawn = draw(jax.random.split(jax.random.key(0), 800))
    for number, species in enumerate(many.species[1:], 1):
        said = np.asarray(drawn.told_signals[:, number], float)
        inside, position = np.zeros(800, bool), np.zeros(800)
        lengths = np.log([high / low for low, high in species.ranges])
        for (low, high), before in zip(species.ranges, np.cumsum([0, *lengths]), strict=False):
            here = (said >= np.log(low) - 1e-5) & (said <= np.log(high) + 1e-5)
            inside |= here
            position[here] = before + said[here] - np.log(low)
        assert inside.all()
        assert stats.kstest(position / lengths.sum(), "uniform").pvalue > 1e-3
        state = next(
            i
            for i, s in enumerate(many.states)
            if (s.atoms == ((species.name, 1),) and not s.spread) or (s.atoms == ((species.name, 2),) and s.site == 1)
        )
        atoms = many.states[state].atoms[0][1]
        off = np.asarray(drawn.signals_nm2[:, state] / drawn.signals_nm2[:, 0]) / atoms / np.exp(said)
        assert np.abs(off - 1).max() <= species.spread + 1e-4 and np.abs(off - 1).max() > 0.9 * species.spread
