"""The light of columns against a dense least-squares fit, and against images whose columns are known."""

import numpy as np
import pytest
from scipy import ndimage

from stemdefects.crystal import material as crystal
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice import neighbours
from stemdefects.inference.columns.lattice.sites import NOWHERE

PIXEL_NM = 0.03
WIDTH_PX = 1.5
S2_SIGNAL = 0.16


@pytest.fixture(scope="module")
def ws2():
    return crystal.load("ws2_mo")


def honeycomb(ws2, size=200):
    """Places (n, 2) px, sublattices (n,) and cells (n, 2) of a WS2 field."""
    steps = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60), indexing="ij"), -1).reshape(-1, 2)
    places, sites, cells = [], [], []
    for g, site in enumerate(ws2.sites):
        place = (steps + site.position) @ ws2.lattice_nm / PIXEL_NM + size / 2
        inside = ((place > 2) & (place < size - 3)).all(1)
        places.append(place[inside])
        sites.append(np.full(inside.sum(), g))
        cells.append(steps[inside])
    return np.concatenate(places), np.concatenate(sites), np.concatenate(cells)


def evidence(image, places, site, cell, material):
    light = column_intensity.measure(image, places, site, cell, material, PIXEL_NM)
    return column_intensity.evidence(light.deviation, site, material)


def drawn(places, signal, size=200, width=WIDTH_PX):
    """Expected image of Gaussian columns of unit volume times `signal`."""
    y, x = np.arange(size)[:, None] - places[:, 0], np.arange(size)[:, None] - places[:, 1]
    rows, columns = (np.exp(-0.5 * (d / width) ** 2) / (np.sqrt(2 * np.pi) * width) for d in (y, x))
    return (rows * signal) @ columns.T


def test_amplitudes_are_the_least_squares_fit():
    rng = np.random.default_rng(0)
    places = np.stack(np.meshgrid(np.arange(12, 50, 5.0), np.arange(12, 50, 5.0)), -1).reshape(-1, 2)
    places += rng.uniform(-0.5, 0.5, places.shape)
    image = drawn(places, rng.uniform(1, 5, len(places)), 62) + rng.normal(size=(62, 62)) * 0.05
    image -= image.mean()
    design = np.stack([drawn(p[None], np.ones(1), 62).ravel() for p in places], 1)
    expected, *_ = np.linalg.lstsq(design, image.ravel(), rcond=None)
    assert np.allclose(
        column_intensity.amplitudes(column_intensity.smoothed(image, places, WIDTH_PX), places, WIDTH_PX),
        expected,
        atol=0.02,
    )


@pytest.mark.parametrize("strength", [0.75, 1.0, 1.3])
def test_weak_and_missing_columns_are_told_whatever_the_detector_gives_sulfur(ws2, strength):
    rng = np.random.default_rng(1)
    places, site, cell = honeycomb(ws2)
    state = ws2.ideal_states[site].copy()
    chalcogen = np.flatnonzero((site == 1) & (np.abs(places - 100) < 80).all(1))
    picked = rng.permutation(chalcogen)[:24]
    state[picked[:12]], state[picked[12:]] = ws2.state_index("S"), ws2.state_index("V_chalcogen")
    signal = ws2.intensities(100.0)[state] * np.where(site == 1, strength, 1.0) * 9000
    y = np.linspace(0, 60, 200)
    image = rng.poisson(drawn(places, signal) + 60 + y[:, None]) * 3.0 + 11
    found = evidence(image, places, site, cell, ws2)
    best = np.where(ws2.site_of_state[None] == site[:, None], found, -np.inf).argmax(1)
    assert (best[picked] == state[picked]).mean() > 0.9
    rest = np.setdiff1d(chalcogen, picked)
    assert (best[rest] == state[rest]).mean() > 0.98
    light = column_intensity.measure(image, places, site, cell, ws2, PIXEL_NM).deviation
    assert np.median(light[picked[:12]]) == pytest.approx(-0.5, abs=0.08)
    assert np.median(light[picked[12:]]) == pytest.approx(-1.0, abs=0.12)


def test_the_evidence_is_as_large_as_the_noise_allows(ws2):
    """Of ideal columns a log-likelihood ratio has the mean -d'^2 / 2 and the variance d'^2."""
    rng = np.random.default_rng(2)
    places, site, cell = honeycomb(ws2)
    expected = drawn(places, ws2.intensities(100.0)[ws2.ideal_states[site]] * 400) + 3
    ratios = []
    for _ in range(4):
        found = evidence(rng.poisson(expected), places, site, cell, ws2)
        ratios.append(found[(site == 1) & (np.abs(places - 100) < 80).all(1), ws2.state_index("S")])
    ratios = np.concatenate(ratios)
    one = drawn(np.array([[100.0, 100.0]]), np.array([0.08 * 400]))
    limit = np.sqrt((one**2 / drawn_near_sulfur(expected, places, site)).sum())
    assert -ratios.mean() == pytest.approx(ratios.var() / 2, rel=0.2)
    assert 0.85 * limit < ratios.std() < 1.1 * limit


def drawn_near_sulfur(expected, places, site):
    """The expected image moved so that one sulfur column lies at (100, 100)."""
    from scipy.ndimage import shift

    sulfur = places[site == 1]
    nearest = sulfur[((sulfur - 100) ** 2).sum(1).argmin()]
    return shift(expected, 100 - nearest, order=1, mode="nearest")


def test_light_says_nothing_where_it_cannot(ws2):
    graphene = crystal.load("graphene_si")
    rng = np.random.default_rng(3)
    places = rng.uniform(5, 195, (400, 2))
    site = np.arange(400) % max(graphene.n_sites, 1)
    lattice = [g for g, s in enumerate(graphene.sites) if not s.floating]
    site = np.array(lattice)[np.arange(400) % len(lattice)]
    found = evidence(rng.poisson(5.0, (200, 200)), places, site, np.zeros((400, 2), int), graphene)
    assert (found == 0).all()
    few = evidence(np.ones((64, 64)), places[:10] / 4, np.arange(10) % 2, np.zeros((10, 2), int), ws2)
    assert few.shape == (10, ws2.n_states) and (few == 0).all()
    prob = rng.dirichlet(np.ones(graphene.n_states), 400).astype(np.float32)
    prior = np.full(graphene.n_states, 1 / graphene.n_states)
    assert (column_intensity.pooled(prob, found, np.ones(400), prior, site, graphene) == prob).all()


def test_the_noise_of_pixels_is_told_from_what_the_columns_show(ws2):
    """Against the noise that was put in; and the share of the scatter that it explains, on even and uneven film."""
    rng = np.random.default_rng(5)
    places, site, cell = honeycomb(ws2)
    volume = ws2.intensities(100.0)[ws2.ideal_states[site]] * 900
    clean = drawn(places, volume) + 20
    film = ndimage.gaussian_filter(rng.normal(size=clean.shape), 6)
    film *= 1.0 / film.std()
    shares = {}
    for sigma in (0.3, 1.5):
        for name, below in (("even", 0.0), ("uneven", film)):
            image = clean + below + sigma * rng.normal(size=clean.shape)
            light = column_intensity.measure(image, places, site, cell, ws2, PIXEL_NM)
            assert column_intensity.pixel_noise(image, places[site == 1], WIDTH_PX) == pytest.approx(sigma, rel=0.1)
            shares[name, sigma] = column_intensity.share(light, site, ws2)[site == 1][0]
            width_px = column_intensity.WIDTH_NM / PIXEL_NM
            # of the volume of a Gaussian in white noise (the Cramer-Rao bound of its volume)
            expected = np.sqrt(4 * np.pi) * width_px * sigma / volume[site == 1][0]
            assert light.noise[site == 1][0] == pytest.approx(expected, rel=0.2)
    assert shares["even", 0.3] > 0.7 and shares["even", 1.5] > 0.7
    assert shares["uneven", 0.3] < 0.2 < shares["uneven", 1.5]


def test_even_film_is_measured_in_a_wider_field(ws2):
    """Against the plain mean of the 18 nearest columns: less scatter on even film, no more on uneven film."""
    rng = np.random.default_rng(0)
    places, site, cell = honeycomb(ws2, 320)
    clean = drawn(places, ws2.intensities(100.0)[ws2.ideal_states[site]] * 900, 320) + 20
    film = ndimage.gaussian_filter(rng.normal(size=clean.shape), 12)
    width_px = column_intensity.WIDTH_NM / PIXEL_NM
    sulfur = np.flatnonzero(site == 1)
    distance = np.linalg.norm(places[sulfur, None] - places[None, sulfur], axis=2)
    nearest = sulfur[np.argsort(distance, axis=1)[:, 1:19]]
    inner = (np.abs(places[sulfur] - 160) < 110).all(1)
    for below, most in ((0.0, 0.98), (film / film.std(), 1.02)):
        ours, plain = [], []
        for _ in range(3):
            image = clean + below + rng.normal(size=clean.shape)
            measured = column_intensity.measure(image, places, site, cell, ws2, PIXEL_NM)
            light = column_intensity.amplitudes(column_intensity.smoothed(image, places, width_px), places, width_px)
            noise = np.sqrt(4 * np.pi) * width_px * column_intensity.pixel_noise(image, places[sulfur], width_px)
            ours.append(measured.deviation[sulfur][inner] / measured.noise[sulfur[0]])
            plain.append((light[sulfur] - light[nearest].mean(1))[inner] / noise)
        assert np.std(ours) < most * np.std(plain)


def test_two_opinions_with_shared_errors_are_pooled_as_bayes_does(ws2):
    """Two readings of one number, as good as each other, errors correlated by 2/3: a share of 0.6 is exact."""
    rng = np.random.default_rng(4)
    n, away, correlation = 50, 1.7, 2 / 3
    site = np.full(n, 1)
    ideal, missing = ws2.ideal_states[1], ws2.state_index("S")
    prior = np.zeros(ws2.n_states)
    prior[ideal], prior[missing] = 0.9, 0.1
    for g in range(ws2.n_sites):
        if g != 1:
            prior[ws2.ideal_states[g]] = 1.0
    prior = np.maximum(prior, 1e-12)
    covariance = np.array([[1, correlation], [correlation, 1]])
    readings = rng.multivariate_normal([0, 0], covariance, n)
    ratio = away * (readings - away / 2)  # log-likelihood ratio of each reading alone
    shift = np.linalg.solve(covariance, [away, away])
    exact = readings @ shift - 0.5 * away * shift.sum() + np.log(0.1 / 0.9)
    prob = np.zeros((n, ws2.n_states))
    odds = np.exp(ratio[:, 0] + np.log(0.1 / 0.9))
    prob[:, ideal], prob[:, missing] = 1 / (1 + odds), odds / (1 + odds)
    found = np.zeros((n, ws2.n_states))
    found[:, missing] = ratio[:, 1]
    said = column_intensity.pooled(prob, found, np.full(n, 0.6), prior, site, ws2)
    assert np.allclose(np.log(said[:, missing] / said[:, ideal]), exact, atol=1e-3)


def test_light_that_no_noise_explains_leaves_the_network_alone(ws2):
    site = np.array([0, 1, 1])
    own = ws2.site_of_state[None] == site[:, None]
    prior = np.where(ws2.site_of_state == 0, 1 / (ws2.site_of_state == 0).sum(), 1 / (ws2.site_of_state == 1).sum())
    rng = np.random.default_rng(4)
    said = rng.normal(size=own.shape) * own
    prob = np.where(own, prior * np.exp(said), 0)
    prob /= prob.sum(1, keepdims=True)
    ideal = ws2.ideal_states[site][:, None]
    found = np.where(own, rng.normal(size=own.shape), 0)
    found -= np.take_along_axis(found, ideal, 1)
    signal = ws2.intensities()
    darker = own & (signal[None] <= np.take_along_axis(np.broadcast_to(signal, own.shape), ideal, 1))

    def odds(p):
        return np.log(p / np.take_along_axis(p, ideal, 1), where=own, out=np.zeros(own.shape))

    alone = column_intensity.pooled(prob, found, np.zeros(3), prior, site, ws2)
    assert np.allclose(odds(alone)[darker], odds(prob)[darker], atol=1e-5)
    light = column_intensity.pooled(prob, found, np.ones(3), prior, site, ws2)
    assert np.abs(odds(light) - found)[darker].max() < 0.25 * np.abs(odds(prob))[darker].max()


def test_dirt_does_not_make_an_adatom(ws2):
    """Light for a state brighter than the crystal counts no more than the network says."""
    site, adatom = np.array([0]), ws2.state_index("W2")
    own = (ws2.site_of_state == 0)[None]
    prior = np.where(ws2.site_of_state == 0, 1e-3, 1.0)
    prior[ws2.state_index("W")] = 1 - prior[ws2.site_of_state == 0].sum() + 1e-3
    prob = np.where(own, prior, 0.0)  # the network sees nothing special
    found = np.zeros(own.shape)
    found[0, adatom] = 20.0
    half = np.full(1, 0.5)
    assert column_intensity.pooled(prob, found, half, prior, site, ws2)[0, adatom] == pytest.approx(
        prior[adatom], rel=1e-6
    )
    found[0, ws2.state_index("Mo")] = 20.0  # darker: the light is heard
    assert column_intensity.pooled(prob, found, half, prior, site, ws2)[0, ws2.state_index("Mo")] > 0.9


def test_neighbours_by_cells_are_the_nearest_columns(ws2):
    """Against a search over all distances; where a column is gone, nobody stands in for it."""
    places, site, cell = honeycomb(ws2, 120)
    gone = int(((places - 60) ** 2).sum(1).argmin())
    keep = np.arange(len(site)) != gone
    places, site, cell = places[keep], site[keep], cell[keep]
    found = neighbours.around(cell, site, ws2)
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    inner = np.flatnonzero((np.minimum(places, 119 - places) > 25).all(1))
    assert len(inner) > 50
    rings = 2.02 * ws2.a_nm / PIXEL_NM
    for i in inner:
        same = np.flatnonzero((distance[i] < rings) & (site == site[i]) & (distance[i] > 0))
        assert sorted(found.same[i][found.same[i] >= 0]) == sorted(same)
        near = np.flatnonzero((distance[i] < 1.02 * ws2.a_nm / PIXEL_NM) & (distance[i] > 0))
        listed = found.near[i][found.near[i] >= 0]
        assert sorted(listed) == sorted(near) and (np.diff(distance[i][listed]) > -1e-6).all()
        assert found.whole[i] == (((distance[i] < 1.02 * ws2.a_nm / PIXEL_NM) & (site == site[i])).sum() == 7)
    assert not found.whole[inner].all() and found.whole[inner].any()
    off = cell.copy()
    off[inner[0]] = NOWHERE
    alone = neighbours.around(off, site, ws2)
    assert (alone.same[inner[0]] < 0).all() and not alone.whole[inner[0]] and not (alone.near == inner[0]).any()


def test_a_column_cut_off_by_the_border_has_light_and_one_beside_a_gap_has_none(ws2):
    places, site, cell = honeycomb(ws2)
    signal = ws2.intensities()[ws2.ideal_states][site]
    distance = np.minimum(places, 199 - places).min(1)
    ring = ws2.a_nm / PIXEL_NM
    cut = (distance > 2 * WIDTH_PX + 1) & (distance < 0.6 * ring)
    found = column_intensity.measure(drawn(places, signal), places, site, cell, ws2, PIXEL_NM).deviation
    assert cut.sum() > 20 and np.isfinite(found[cut]).mean() > 0.8
    gap = np.flatnonzero((site == site[0]) & (distance > 2 * ring))[7]
    beside = (np.hypot(*(places - places[gap]).T) < 1.1 * ring) & (site == site[gap])
    kept = np.arange(len(places)) != gap
    found = column_intensity.measure(drawn(places, signal), places[kept], site[kept], cell[kept], ws2, PIXEL_NM)
    assert np.isnan(found.deviation[beside[kept]]).all()
