"""Sentences with codes, and random streams by name."""

import copy
import dataclasses

import numpy as np

from stemdefects.analysis import seeds, synthetic
from stemdefects.analysis.motion import diffusion, hopping
from stemdefects.analysis.motion import estimators as motion
from stemdefects.analysis.notes import Code, Note, codes, join


def test_a_note_is_a_string_that_keeps_its_code():
    both = join([Note("One.", Code.FEW_TRACKS), "", "Plain.", Note("Two.", Code.REACHES_ZERO)])
    assert both == "One. Plain. Two." and codes(both) == {Code.FEW_TRACKS, Code.REACHES_ZERO}
    assert codes("Plain.") == frozenset() and codes(copy.deepcopy(both)) == codes(both)


def test_estimators_are_left_out_by_code_and_not_by_their_words():
    t = synthetic.hopping_tracks(np.random.default_rng(0), synthetic.Hoppers(sigma=0.11))
    found = hopping.site_model(t, synthetic.hexagonal(angle=0.3), sigma=0.11, n_bootstrap=30)
    assert Code.SITES_NOT_RESOLVED in codes(found.warning)
    reworded = dataclasses.replace(found, warning=Note("Reworded.", Code.SITES_NOT_RESOLVED))
    cve = diffusion.cve(t, 100)
    assert set(motion._usable({"cve": cve, "sites": reworded})) == {"cve"}
    assert set(motion._usable({"cve": cve, "sites": dataclasses.replace(found, warning=str(found.warning))})) == {
        "cve",
        "sites",
    }


def test_a_stream_is_its_names():
    one, again, other = (seeds.stream(3, *names).random() for names in (("a", "b"), ("a", "b"), ("ab",)))
    assert one == again != other
