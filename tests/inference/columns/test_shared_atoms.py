"""One bright atom between two places is one call."""

import numpy as np

from stemdefects.crystal import material as crystal
from stemdefects.inference.columns.defects import shared_atoms
from stemdefects.inference.network.engine import Columns

GRAPHENE = crystal.load("graphene_si")
PIXEL_NM = 0.02
BOND_PX = 0.2461 / np.sqrt(3) / PIXEL_NM


def _columns(place, site):
    place, n = np.asarray(place, np.float32), len(site)
    prob = np.ones((n, GRAPHENE.n_states), np.float32) / GRAPHENE.n_states
    return Columns(
        place[:, 0], place[:, 1], np.zeros(n, np.float32), np.asarray(site), prob, np.ones(n), np.zeros(n, int)
    )


def test_of_two_calls_on_one_atom_the_more_probable_stays():
    states = [GRAPHENE.state_index(name) for name in ("Si_on_A", "Si_on_B", "Si_on_A", "Si_on_B", "C_A")]
    place = [(20, 20), (20, 20 + 0.6 * BOND_PX), (50, 20), (50, 20 + BOND_PX), (20, 20 - 0.5 * BOND_PX)]
    prob = np.array([0.7, 0.9, 0.8, 0.8, 0.0])
    falls = shared_atoms(_columns(place, [0, 1, 0, 1, 0]), prob, np.array(states), GRAPHENE, PIXEL_NM)
    np.testing.assert_array_equal(falls, [True, False, False, False, False])  # a pair a bond apart is two atoms


def test_missing_atoms_share_nothing():
    """Of vacancies close together neither is the other: nothing bright was seen twice."""
    states = np.array([GRAPHENE.state_index("vacant_A"), GRAPHENE.state_index("vacant_B")])
    columns = _columns([(20, 20), (20, 20 + 0.5 * BOND_PX)], [0, 1])
    assert not shared_atoms(columns, np.array([0.9, 0.8]), states, GRAPHENE, PIXEL_NM).any()


def test_a_chain_of_calls_falls_by_those_that_stay():
    """The middle one falls to the first; the last is not beside one that stays."""
    states = np.array(
        [GRAPHENE.state_index("Si_on_A"), GRAPHENE.state_index("Si_on_B"), GRAPHENE.state_index("Si_on_A")]
    )
    columns = _columns([(20, 20), (20, 20 + 0.6 * BOND_PX), (20, 20 + 1.2 * BOND_PX)], [0, 1, 0])
    falls = shared_atoms(columns, np.array([0.9, 0.8, 0.7]), states, GRAPHENE, PIXEL_NM)
    np.testing.assert_array_equal(falls, [False, True, False])
