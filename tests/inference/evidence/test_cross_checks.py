"""States over time against single frames and the light of columns: columns drawn here whose truth is known, then movies
of another simulator at a low dose, where all frames rightly see what one frame does not, and of two layers."""

from pathlib import Path

import numpy as np
import pytest

from stemdefects.inference.evidence import cross_checks
from stemdefects.io.tables import contradictions, quality_flags
from stemdefects.io.tables.contradictions import Code
from stemdefects.models import shipped

CASES = Path(__file__).parents[4] / "shared" / "cases"
SIGNAL, PRIOR, THRESHOLD = np.array([1.0, 0.5]), np.array([0.98, 0.02]), np.array([1.0, 0.5])
NAMES = {1: "one"}


def checks():
    return cross_checks.CrossChecks(SIGNAL, np.ones(2), PRIOR, THRESHOLD)


def drawn(apart, n_frames=30, n_sites=400, n_defects=12, light=-0.5, film=0.0, seed=0):
    """A sublattice whose first sites are defective and known to be: readings `apart` scatters from the ideal ones,
    columns with `light` more than these have, a film that makes sites differ for good by `film`; calls of single frames
    as Bayes has them."""
    rng = np.random.default_rng(seed)
    defect = np.arange(n_sites) < n_defects
    reading = apart * defect + rng.normal(size=(n_frames, n_sites))
    ratio = apart * reading - apart**2 / 2 + np.log(PRIOR[1] / PRIOR[0])
    single, wrong = np.where(ratio > 0, 1, -1), 1 / (1 + np.exp(np.abs(ratio)))
    posterior = np.zeros((n_frames, n_sites, 2))
    posterior[..., 0], posterior[..., 1] = ~defect, defect
    seen = light * defect + film * rng.normal(size=n_sites) + 0.5 / apart * rng.normal(size=(n_frames, n_sites))
    return cross_checks.Sublattice(posterior, np.arange(2), seen, reading, single, wrong, np.ones(single.shape, bool))


def found(*parts):
    check = checks()
    for part in parts:
        check.add(part)
    return check.contradictions(NAMES)


@pytest.mark.parametrize("apart", [1.2, 2.0, 3.0, 4.5, 8.0])
def test_what_is_right_is_not_contradicted_at_any_dose(apart):
    part = drawn(apart)
    assert found(part, drawn(apart, seed=1)) == []
    share = (part.single[:, :12] == 1).mean()
    assert share < 0.06 if apart == 1.2 else share > 0.9 if apart > 4 else True


def test_each_contradiction_is_said_with_its_figures():
    [light] = found(drawn(4.0, light=-0.1))
    assert light.code is Code.LIGHT and light.found == pytest.approx(-0.1, abs=0.05) and light.expected == -0.5
    assert "-50%" in light.sentence and "12 sites" in light.sentence
    [light] = found(drawn(4.0, light=-1.4))
    assert light.code is Code.LIGHT and light.found == pytest.approx(-1.4, abs=0.1)
    assert found(drawn(1.2, film=0.08)) == []
    [lasting] = found(drawn(3.0, film=0.35))
    assert lasting.code is Code.LASTING and lasting.found == pytest.approx(0.35, abs=0.04)
    part = drawn(4.0)
    [unseen] = found(part._replace(single=np.full_like(part.single, -1)))
    assert unseen.code is Code.UNSEEN and unseen.found == 0 and unseen.expected == pytest.approx(0.87, abs=0.06)
    [denied] = found(part._replace(posterior=np.where(part.posterior >= 0, [1.0, 0.0], 0)))
    assert denied.code is Code.DENIED and denied.n > 250 and denied.found / denied.n > 0.9
    told = contradictions.sentences({contradictions.ATTRIBUTE: contradictions.to_plain([light, denied])})
    assert told == [light.sentence, denied.sentence]


def test_of_one_column_nothing_is_concluded():
    assert found(drawn(4.0, n_defects=1, light=0.0)) == []


@pytest.mark.skipif(not CASES.is_dir(), reason="no shared cases beside the project")
@pytest.mark.skipif("ws2_mo" not in shipped.names(), reason="the network ws2_mo does not ship here")
def test_a_low_dose_is_right_and_two_layers_are_not(monkeypatch):
    """(10 s) The moire is looked at over time only where its second lattice passes unseen."""
    from stemdefects.commands import detection
    from stemdefects.crystal import second_lattice
    from stemdefects.io import opening
    from stemdefects.io.movie import Movie

    held = np.load(CASES / "physics" / "movie_400.npz")
    movie = Movie(held["images"][:24], pixel_size_nm=float(held["pixel_size_nm"]), frame_time_s=2.25)
    right = detection.detect(movie, "ws2_mo", progress=False)
    over_time = (right.over_time["kind"] == b"V_S").sum()
    assert over_time > 200 and right.counts().get("V_S", 0) < 0.1 * over_time
    assert not contradictions.of_table(right.attrs) and not (right.frames["doubt"] & quality_flags.CONTRADICTED).any()

    monkeypatch.setattr(second_lattice, "find", lambda *arguments, **named: None)
    with pytest.warns(UserWarning, match="V_S2 over time"):
        wrong = detection.detect(opening.read(CASES / "artefacts" / "moire.tif"), "ws2_mo", progress=False)
    assert (wrong.frames["doubt"] & quality_flags.CONTRADICTED > 0).all()
    assert "V_S2" in {one.kind for one in contradictions.of_table(wrong.attrs)}
