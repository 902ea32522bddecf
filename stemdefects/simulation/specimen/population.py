"""Which column is in which state: random defects, clusters, lines and complexes on a lattice (JAX)."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.numerics.arrays import Scalar


class Slots(NamedTuple):
    """The columns of an ideal field as arrays; see `crystal.lattice.Lattice`. Twin tables equal the others without."""

    position_nm: np.ndarray  # (n, 2) crystal frame
    site: np.ndarray  # (n,)
    ideal: np.ndarray  # (n,) ideal state
    bonds: np.ndarray  # (n, B)
    reverse: np.ndarray  # (n, B)
    hops: np.ndarray  # (n, K)


class Groups(NamedTuple):
    """Complexes: per column the number of its complex (index of the centre), its kind and orientation; -1: none."""

    complex: jnp.ndarray
    complex_kind: jnp.ndarray
    orientation: jnp.ndarray


def slots(material: Material, lattice: geometry.Lattice) -> Slots:
    """Tables of `lattice` as the functions here take them."""
    ideal = material.ideal_states[lattice.site]
    return Slots(
        lattice.position_nm.astype(np.float32),
        lattice.site.astype(np.int32),
        ideal.astype(np.int32),
        lattice.bonds,
        geometry.reverse_bonds(lattice),
        lattice.hops,
    )


def take(values: jax.Array | np.ndarray, index: jax.Array | np.ndarray, missing: float | jax.Array) -> jax.Array:
    """`values[index]` with `missing` where the index is -1."""
    return jnp.where(index >= 0, values[index], missing)


def point_defects(
    key: jax.Array,
    slots: Slots,
    material: Material,
    density: Float[jax.Array, " kinds"],
    modulation: Float[jax.Array, "#columns"] | Scalar,
) -> Int[jax.Array, " columns"]:
    """(n,) states: each kind on its site with probability `density[kind] * modulation` (n,)."""
    uniform = jax.random.uniform(key, slots.site.shape)
    state = jnp.asarray(slots.ideal)
    taken = jnp.zeros(slots.site.shape)
    for index, kind in enumerate(material.kinds):
        here = slots.site == material.states[kind.state].site
        chance = jnp.where(here, density[index] * modulation, 0.0)
        hit = (uniform >= taken) & (uniform < taken + chance)
        state = jnp.where(hit, kind.state, state)
        taken = taken + chance
    return state


class Lines(NamedTuple):
    """Lines of vacancies: the state of their columns, how many, (least, most) length in sites, and how far from the
    middle of the field they begin at most."""

    state: int
    number: int
    length_sites: Sequence[float]
    reach_nm: float


def vacancy_lines(
    key: jax.Array, slots: Slots, material: Material, state: Int[jax.Array, " columns"], lines: Lines
) -> Int[jax.Array, " columns"]:
    """Turn close-packed rows of one sublattice into lines of vacancies, where columns are ideal."""
    site = material.states[lines.state].site
    rows = np.flatnonzero((slots.site == site) & (slots.hops >= 0).all(1))
    vector = slots.position_nm[slots.hops[rows[0]]] - slots.position_nm[rows[0]]  # hop vectors
    for key_line in jax.random.split(key, lines.number):
        key_start, key_way, key_length = jax.random.split(key_line, 3)
        inner = rows[np.linalg.norm(slots.position_nm[rows], axis=1) < lines.reach_nm]
        start = jnp.asarray(slots.position_nm)[jax.random.choice(key_start, inner)]
        way = jnp.asarray(vector)[jax.random.randint(key_way, (), 0, len(vector))]
        low, high = lines.length_sites
        length = jax.random.uniform(key_length, (), minval=low, maxval=high)
        along = (slots.position_nm - start) @ way / (way @ way)
        across = jnp.abs((slots.position_nm - start) @ jnp.stack([way[1], -way[0]]) / (way @ way))
        hit = (slots.site == site) & (across < 0.25) & (along > -0.5) & (along < length - 0.5)
        state = jnp.where(hit & (state == slots.ideal), lines.state, state)
    return state


def plant_complexes(
    key: jax.Array,
    slots: Slots,
    material: Material,
    state: Int[jax.Array, " columns"],
    probability: Float[jax.Array, " complexes"],
) -> Int[jax.Array, " columns"]:
    """Give each centre the neighbours of complex c with `probability[c]`, at a random orientation."""
    key_which, key_first, key_way = jax.random.split(key, 3)
    uniform = jax.random.uniform(key_which, slots.site.shape)
    full = (slots.bonds >= 0).all(1)
    n_bonds = slots.bonds.shape[1]
    first = jax.random.randint(key_first, slots.site.shape, 0, n_bonds)
    way = jnp.where(jax.random.bernoulli(key_way, 0.5, slots.site.shape), 1, -1)
    request = jnp.full(slots.bonds.shape, -1, jnp.int32)
    taken = jnp.zeros(slots.site.shape)
    for index, group in enumerate(material.complexes):
        here = (state == group.center) & full
        hit = here & (uniform >= taken) & (uniform < taken + probability[index])
        taken = taken + jnp.where(here, probability[index], 0.0)
        for number, neighbour in enumerate(group.neighbours):
            bond = (first + way * number) % n_bonds
            chosen = hit[:, None] & (jnp.arange(n_bonds) == bond[:, None])
            request = jnp.where(chosen, neighbour, request)
    back = jnp.where((slots.bonds >= 0) & (slots.reverse >= 0), request[slots.bonds, slots.reverse], -1)
    wanted = back.max(1)
    return jnp.where((wanted >= 0) & (state == slots.ideal), wanted, state)


def find_complexes(slots: Slots, material: Material, state: Int[jax.Array, " columns"]) -> Groups:
    """Name the complexes in `state`: a centre whose bonded defects are exactly those of the complex.

    Orientation: which bond leads to the vacancy; where all bonded columns but one are defective, the bond that is left.
    """
    n, n_bonds = slots.bonds.shape
    defective = jnp.concatenate([jnp.where(state != slots.ideal, state, -1), jnp.array([-1])])
    around = defective[slots.bonds]  # index -1 reads the last entry
    present = around >= 0
    count = present.sum(1)
    number = jnp.full(n, -1, jnp.int32)
    kind = jnp.full(n, -1, jnp.int32)
    turn = jnp.where(count == 1, jnp.argmax(present, 1), jnp.where(count == n_bonds - 1, jnp.argmin(present, 1), -1))
    for index, group in enumerate(material.complexes):
        if len(group.neighbours) > n_bonds:
            continue
        hit = (state == group.center) & (slots.bonds >= 0).all(1) & (count == len(group.neighbours))
        for neighbour in set(group.neighbours):
            hit &= (around == neighbour).sum(1) == group.neighbours.count(neighbour)
        number = jnp.where(hit, jnp.arange(n), number)
        kind = jnp.where(hit, index, kind)
    turn = jnp.where(number >= 0, turn, -1)
    center = jnp.where(defective[:-1] >= 0, take(number, slots.bonds.T, -1).max(0), -1)  # of a member
    member = (number < 0) & (center >= 0)
    return Groups(
        jnp.where(member, center, number).astype(jnp.int32),
        jnp.where(member, kind[center], kind).astype(jnp.int32),
        jnp.where(member, turn[center], turn).astype(jnp.int8),
    )


def relax(
    slots: Slots,
    material: Material,
    state: Int[jax.Array, " columns"],
    scale: Scalar,
    bonds: jax.Array | np.ndarray | None = None,
) -> Float[jax.Array, "columns 2"]:
    """(n, 2) displacements (nm, crystal frame) of columns next to defects, by each state's `relax_nm`."""
    bonds = slots.bonds if bonds is None else bonds
    strength = jnp.array([s.relax_nm for s in material.states], jnp.float32)[state] * scale
    push = take(strength, bonds, 0.0)
    vector = slots.position_nm[:, None] - jnp.asarray(slots.position_nm)[bonds]
    length = jnp.sqrt((vector**2).sum(-1, keepdims=True) + 1e-9)
    return (push[..., None] * vector / length).sum(1)


def hop(
    key: jax.Array, slots: Slots, state: Int[jax.Array, " columns"], mobile_state: int, probability: Scalar
) -> Int[jax.Array, " columns"]:
    """One step of random hops in a clip: each mobile defect moves to a free neighbour with `probability`."""
    key_move, key_way = jax.random.split(key)
    n, ways = slots.hops.shape
    way = jax.random.randint(key_way, (n,), 0, ways)
    target = jnp.take_along_axis(jnp.asarray(slots.hops), way[:, None], 1)[:, 0]
    free = (target >= 0) & (state[target] == jnp.asarray(slots.ideal)[target])
    move = (state == mobile_state) & free & (jax.random.uniform(key_move, (n,)) < probability)
    arrived = jnp.zeros(n + 1, jnp.int32).at[jnp.where(move, target, n)].add(1)[:n]
    move &= arrived[target] == 1  # two that want one place both stay
    landed = jnp.zeros(n + 1, bool).at[jnp.where(move, target, n)].set(True)[:n]
    return jnp.where(landed, mobile_state, jnp.where(move, slots.ideal, state))
