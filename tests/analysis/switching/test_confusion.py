"""The network's own confusion in the hidden Markov model of transitions."""

import numpy as np
import pandas as pd
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.switching import confusion, markov
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching.states import Chain
from stemdefects.crystal import material
from stemdefects.errors import UserError
from stemdefects.schema import TransitionsConfig

NAMES = ["Mo_W", "Mo_W+V_S@0", "Mo_W+V_S@1", "Mo_W+V_S@2"]


@pytest.fixture(scope="module")
def crystal():
    return material.load("ws2_mo")


def attribute(crystal, false=0.05, missed=0.2):
    """A detector that takes 5% of S2 columns for S, misses 20% of S, and is right otherwise."""
    size = len(crystal.state_names)
    counts = np.eye(size + 1) * 10_000
    full, half = crystal.state_names.index("S2"), crystal.state_names.index("S")
    counts[full, [full, half]] = 10_000 * (1 - false), 10_000 * false
    counts[half, [half, full]] = 10_000 * (1 - missed), 10_000 * missed
    said = [*crystal.state_names, "missed"]
    return {
        "set": "typical",
        "dose_e_per_px": 400.0,
        "movie_dose_e_per_px": 500.0,
        "said": said,
        "true": [*crystal.state_names, "none"],
        "counts": counts.tolist(),
    }


def test_confusion_of_complexes_is_that_of_their_bonds(crystal):
    """Against counting: each bond's label drawn by itself, patterns read off."""
    found = confusion.of_chain(NAMES, attribute(crystal), crystal, "Mo_W")
    rng = np.random.default_rng(0)
    seen = rng.random((200_000, 3)) < np.array([0.8, 0.05, 0.05])  # a vacancy on bond 0
    many = seen.sum(1)
    counts = np.array([(many % 3 == 0).sum(), *[((many == 1) & seen[:, k]).sum() for k in range(3)]], float)
    assert found[1] == pytest.approx(counts / counts.sum(), abs=0.004)
    assert found.sum(1) == pytest.approx(1)
    kinds = confusion.of_chain(["V_S", "V_S2"], attribute(crystal), crystal, "Mo_W")
    assert kinds[0, 0] > 0.99 and kinds.shape == (2, 2)
    assert confusion.of_chain(["class 0", "class 1"], attribute(crystal), crystal, "Mo_W") is None


def observed_chain(crystal, seed=1, n_traces=150):
    """Labels of centres that switch, each seen through the detector of `attribute`."""
    truth = np.full((4, 4), 0.03) + np.eye(4) * 0.88
    rng = np.random.default_rng(seed)
    state = synthetic.chains(rng, truth, n_traces, 25, error=0.0)
    edges = np.cumsum(confusion.of_chain(NAMES, attribute(crystal), crystal, "Mo_W"), 1)
    label = (rng.random(state.shape)[..., None] > edges[state]).sum(-1)
    track, frame = np.nonzero(label >= 0)
    return truth, Chain(NAMES, track, frame, label[track, frame], "test")


def test_model_stands_beside_estimate_and_is_asked_for(crystal):
    truth, chain = observed_chain(crystal)
    cfg = TransitionsConfig(centre="Mo_W", n_gibbs=40, n_burn=20)
    notes = []
    known = confusion.known(chain.names, cfg, {"confusion": attribute(crystal)}, crystal, notes)
    found, _, more, _ = switching.run(chain, cfg, switching.Span(25, 1.0, "s"), np.random.default_rng(0), known=known)
    assert list(found)[:2] == ["hmm", "hmm_model"] and "400 e/px" in found["hmm_model"].warning
    assert found["hmm_model"].P == pytest.approx(truth, abs=0.03)
    assert not any("do not fit" in n for n in more)
    cfg.confusion = "model"
    found = switching.run(chain, cfg, switching.Span(25, 1.0, "s"), np.random.default_rng(0), known=known)[0]
    assert list(found)[:2] == ["hmm", "hmm_estimate"]
    assert found["hmm"].extra["confusion"] == pytest.approx(known.model)
    assert confusion.known(chain.names, cfg, {}, crystal, notes).model is None and "does not hold it" in notes[-1]


@pytest.mark.parametrize("dose", [None, 60.0, 4000.0])
def test_the_confusion_of_another_dose_is_used_only_when_asked_for(crystal, dose):
    """A movie whose dose is not known, or far from the network's, was said not to fit in nearly every case."""
    other = {"confusion": attribute(crystal) | {"movie_dose_e_per_px": dose}}
    cfg = TransitionsConfig(centre="Mo_W")
    assert confusion.known(NAMES, cfg, other, crystal, []).model is None
    cfg.confusion = "model"
    assert confusion.known(NAMES, cfg, other, crystal, []).model is not None


def test_a_wrong_confusion_is_noticed(crystal):
    _, chain = observed_chain(crystal)
    cfg = TransitionsConfig(centre="Mo_W", n_gibbs=30, n_burn=10)
    wrong = confusion.Confusions(model=markov.guess_confusion(4, 0.995), about="made up")
    notes = switching.run(chain, cfg, switching.Span(25, 1.0, "s"), np.random.default_rng(0), known=wrong)[2]
    assert any("do not fit that confusion" in n for n in notes)


def test_confusion_from_a_file(tmp_path):
    rows = [(a, b, 0.9 if a == b else 0.1) for a in "xy" for b in "xy"]
    pd.DataFrame(rows, columns=["state", "label", "probability"]).to_csv(tmp_path / "c.csv")
    cfg = TransitionsConfig(confusion=str(tmp_path / "c.csv"))
    known = confusion.known(["x", "y"], cfg, {}, None, [])
    assert known.given == pytest.approx(np.array([[0.9, 0.1], [0.1, 0.9]])) and known.about == "from c.csv"
    with pytest.raises(UserError, match="no row for state z"):
        confusion.read(tmp_path / "c.csv", ["x", "z"])
    with pytest.raises(UserError, match="no such file"):
        confusion.known(["x"], TransitionsConfig(confusion="modle"), {}, None, [])


def test_inference_stores_the_nearest_dose(crystal):
    from types import SimpleNamespace

    from stemdefects.inference.columns.confusion import nearest

    tables = {name: {"counts": [[n]]} for n, name in enumerate(("low", "typical", "high"))}
    training = SimpleNamespace(
        validation=SimpleNamespace(doses_e_per_px={"low": 130.0, "typical": 400.0, "high": 2500})
    )
    confusion = {"true": [], "said": [], "doses": tables}
    model = SimpleNamespace(confusion=confusion, config=SimpleNamespace(training=training))
    assert [nearest(model, dose)["set"] for dose in (100, 600, 1200, None)] == ["low", "typical", "high", "typical"]
    assert nearest(SimpleNamespace(confusion={}, config=None), 100.0) is None
