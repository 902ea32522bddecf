"""Which configuration turns into which: complexes of vacancies, their changes with counts and rates, as a graph.

A configuration is a set of vacancies next to each other, with the centres that they are bonded to. In each sampled
history every event changes the configurations it touches: an edge goes from each of those before to each of those
after. Its rate is per configuration and second; with events and times from all histories, its interval is that of the
mean of their Gammas, as in `risks`.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from stemdefects.analysis.damage.risks import mixture, summary
from stemdefects.analysis.estimates import number
from stemdefects.analysis.kinetics.lattice import BOND, DOUBLE, Sites
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.kinetics.statements import Names
from stemdefects.analysis.stage import Figure, Fold, Grid

MOST_HISTORIES = 48  # that are walked through: more add nothing to a rate
LARGE = 6  # vacancies from which configurations are told by their number alone
WHOLE = "whole lattice"
SHOWN = 0.5  # mean number in a movie from which a change is in picture and section
CAPTION = (
    "Discs: configurations, their area by how many there are. Arrows: changes, with their mean number in the movie."
)


@dataclass(frozen=True)
class Edge:
    """`count`: mean number in a movie; rate per second and configuration with its interval."""

    source: str
    target: str
    process: str
    count: float
    rate_per_s: tuple[float, float, float]


class Pathways(NamedTuple):
    """nodes: configuration -> mean configuration-seconds in the movie; per_frame: their mean number; sizes: atoms that
    they lack, -1 of the whole lattice."""

    nodes: dict[str, float]
    per_frame: dict[str, float]
    sizes: dict[str, int]
    edges: list[Edge]


def find(answer: Kinetics, names: Names, rng: np.random.Generator) -> Pathways:
    """The graph of all sampled histories."""
    chosen = np.unique(np.linspace(0, len(answer.histories) - 1, MOST_HISTORIES).astype(int))
    low, high = float(answer.times_s[0]), float(answer.times_s[-1])
    sizes = {WHOLE: -1, names.centre: 0}
    counted = [_Walk(answer.sites, names, low, sizes).through(answer.histories[k], high) for k in chosen]
    keys = sorted({key for changes, _ in counted for key in changes})
    places = sorted({name for _, times in counted for name in times})
    seconds = {name: np.array([times.get(name, 0.0) for _, times in counted]) for name in places}
    edges = []
    for source, target, process in keys:
        n = np.array([changes.get((source, target, process), 0) for changes, _ in counted], float)
        if seconds[source].max() <= 0:
            continue
        none = float(np.mean(n == 0))
        draws, code = mixture(n, seconds[source], none, rng)
        edges.append(Edge(source, target, process, float(n.mean()), summary(draws, code, none)))
    nodes = {name: float(t.mean()) for name, t in seconds.items()}
    span = max(high - low, 1e-12)
    edges.sort(key=lambda e: -e.count)
    return Pathways(nodes, {name: t / span for name, t in nodes.items() if name != WHOLE}, sizes, edges)


class _Walk:
    """One history, event by event, with the configurations that are there."""

    def __init__(self, place: Sites, names: Names, low: float, known: dict[str, int]):
        self.near, self.names, self.inner = place.near.tolist(), names, np.all(place.near >= 0, axis=1)
        self.known = known  # atoms that each configuration lacks, filled as they are met
        bonded = place.kind == BOND
        self.centre = np.where(bonded, place.centre, -1).tolist()
        self.bonds = place.bonds.tolist()
        self.layer: dict[int, int] = {}  # of the sites that hold a vacancy
        self.of: dict[int, int] = {}  # number of the configuration on each of them
        self.sites: dict[int, frozenset] = {}
        self.since: dict[int, float] = {}
        self.next, self.now, self.n_sites = 0, low, len(place.kind)
        self.empty_centres = {c: low for c in range(len(place.bonds))}
        self.seconds: dict[str, float] = defaultdict(float)
        self.changes: dict[tuple[str, str, str], int] = defaultdict(int)

    def through(self, history: tuple[np.ndarray, np.ndarray, np.ndarray], high: float):
        """(changes, seconds) of the history to its end."""
        start, time, events = history
        for site in np.flatnonzero(start):
            self.layer[int(site)] = int(start[site])
        self._make(set(self.layer))
        for t, (a, b, to) in zip(time.tolist(), events.tolist(), strict=True):
            self._whole(t)
            self.now = t
            self._event(a, b, to)
        self._whole(high)
        self.now = high
        for k in list(self.sites):
            self._end(k)
        for since in self.empty_centres.values():
            self.seconds[self.names.centre] += high - since
        return dict(self.changes), dict(self.seconds)

    def _whole(self, until: float) -> None:
        self.seconds[WHOLE] += (self.n_sites - len(self.layer)) * (until - self.now)

    def _event(self, a: int, b: int, to: int) -> None:
        ends = [e for e in (a, b) if e >= 0]
        touched = {self.of[s] for e in ends for s in (e, *self.near[e]) if s in self.of and (s == a or e == b)}
        before = [self._label(self.sites[k]) for k in sorted(touched)]
        parts = set().union(*(self.sites[k] for k in touched))
        moved = self.layer.get(a, 0)
        for k in touched:
            self._end(k)
        if a >= 0:
            self.layer.pop(a, None)
            parts.discard(a)
        if b >= 0:
            self.layer[b] = to
            parts.add(b)
            caught = self.empty_centres.pop(self.centre[b], None) if self.centre[b] >= 0 else None
            if caught is not None:
                self.seconds[self.names.centre] += self.now - caught
                before.append(self.names.centre)
        after = [self._label(self.sites[k]) for k in self._make(parts)]
        left = self.centre[a] if a >= 0 else -1
        if left >= 0 and not any(s in self.layer for s in self.bonds[left]):
            self.empty_centres[left] = self.now
            after.append(self.names.centre)
        process = self._process(a, b, to, moved)
        if sorted(before) == sorted(after) and process == "hop":
            after = before  # it moved and stayed what it is
        for source in set(before or [WHOLE]):
            for target in set(after or [WHOLE]):
                self.changes[source, target, process] += 1

    def _process(self, a: int, b: int, to: int, moved: int) -> str:
        if a < 0:
            return "first atom" if self.inner[b] else "first atom or over the border"
        if b < 0:
            return "filling" if self.inner[a] else "filling or over the border"
        if a == b:
            return "second atom" if to == DOUBLE else "filling"
        return "hop" if moved != DOUBLE else "hop of two"

    def _make(self, sites: set) -> list[int]:
        """New configurations from these sites; their numbers."""
        made, left = [], set(sites)
        while left:
            part, held = set(), [left.pop()]
            while held:
                site = held.pop()
                part.add(site)
                new = left.intersection(self.near[site])
                left -= new
                held += new
            self.sites[self.next], self.since[self.next] = frozenset(part), self.now
            for site in part:
                self.of[site] = self.next
            made.append(self.next)
            self.next += 1
        return made

    def _end(self, number: int) -> None:
        sites = self.sites.pop(number)
        self.seconds[self._label(sites)] += self.now - self.since.pop(number)
        for site in sites:
            del self.of[site]

    def _label(self, sites: frozenset) -> str:
        """Name of a configuration; layers must still be those it had."""
        centres = len({self.centre[s] for s in sites if self.centre[s] >= 0})
        two = sum(self.layer[s] == DOUBLE for s in sites)
        parts = [f"{'' if centres == 1 else centres}{self.names.centre}"] if centres else []
        one = len(sites) - two
        if len(sites) >= LARGE:
            self.known.setdefault(name := "+".join([*parts, f"{LARGE} and more"]), LARGE)
            return name
        if two:
            parts.append(f"{'' if two == 1 else two}{self.names.two or '2' + self.names.one}")
        if one:
            parts.append(f"{'' if one == 1 else one}{self.names.one}")
        shape = self._shape(sites) if len(sites) == 3 and not centres and not two else ""
        name = "+".join(parts) + shape
        self.known[name] = one + 2 * two
        return name

    def _shape(self, sites: frozenset) -> str:
        """Of three next to each other: a triangle, a line, or bent."""
        bonds = {s: [k for k, g in enumerate(self.near[s]) if g in sites] for s in sites}
        if all(len(ways) == 2 for ways in bonds.values()):
            return " (triangle)"
        middle = next(ways for ways in bonds.values() if len(ways) == 2)
        return " (line)" if (middle[1] - middle[0]) % 6 == 3 else " (bent)"


def blocks(found: Pathways) -> list:
    """Of the page: the changes that were seen, the picture."""
    rows = [
        [
            e.source,
            e.target,
            e.process,
            f"{e.count:.1f}",
            number(e.rate_per_s[0]),
            f"{number(e.rate_per_s[1])} to {number(e.rate_per_s[2])}",
        ]
        for e in found.edges
        if e.count >= SHOWN
    ]
    if not rows:
        return []
    what = (
        "Which configuration turns into which: vacancies next to each other are one configuration. One that splits, or "
        "several that join, have an arrow for each part."
    )
    head = ["from", "to", "by", "mean number", "1/s per configuration", "95% interval"]
    return [what, Figure("pathways", CAPTION), Fold(f"all changes ({len(rows)})", [Grid(head, rows)])]


def tables(found: Pathways) -> dict[str, Any]:
    """`pathways` and `configurations` as DataFrames."""
    import pandas as pd

    edges = [
        {
            "from": e.source,
            "to": e.target,
            "process": e.process,
            "mean_number": e.count,
            "rate_per_s": e.rate_per_s[0],
            "low_per_s": e.rate_per_s[1],
            "high_per_s": e.rate_per_s[2],
        }
        for e in found.edges
    ]
    nodes = [
        {"configuration": name, "seconds": t, "mean_per_frame": found.per_frame.get(name, np.nan)}
        for name, t in sorted(found.nodes.items(), key=lambda item: -item[1])
    ]
    return {
        "pathways": pd.DataFrame(
            edges, columns=["from", "to", "process", "mean_number", "rate_per_s", "low_per_s", "high_per_s"]
        ),
        "configurations": pd.DataFrame(nodes, columns=["configuration", "seconds", "mean_per_frame"]),
    }


def graphml(found: Pathways) -> str:
    """The graph in GraphML (graphml.graphdrawing.org), which Gephi, yEd, Cytoscape and networkx read."""
    from xml.etree import ElementTree as tree

    root = tree.Element("graphml", xmlns="http://graphml.graphdrawing.org/xmlns")
    kinds = {
        "node": {"seconds": "double", "mean_per_frame": "double"},
        "edge": {
            "process": "string",
            "mean_number": "double",
            "rate_per_s": "double",
            "low_per_s": "double",
            "high_per_s": "double",
        },
    }
    for where, keys in kinds.items():
        for name, kind in keys.items():
            tree.SubElement(root, "key", {"id": f"{where}_{name}", "for": where, "attr.name": name, "attr.type": kind})
    graph = tree.SubElement(root, "graph", id="pathways", edgedefault="directed")

    def add(element, where: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            tree.SubElement(element, "data", key=f"{where}_{name}").text = str(value)

    for name, seconds in found.nodes.items():
        node = tree.SubElement(graph, "node", id=name)
        add(node, "node", {"seconds": seconds, "mean_per_frame": found.per_frame.get(name, float("nan"))})
    for k, e in enumerate(found.edges):
        edge = tree.SubElement(graph, "edge", id=f"e{k}", source=e.source, target=e.target)
        value, low, high = e.rate_per_s
        add(
            edge,
            "edge",
            {"process": e.process, "mean_number": e.count, "rate_per_s": value, "low_per_s": low, "high_per_s": high},
        )
    tree.indent(root)
    return tree.tostring(root, encoding="unicode", xml_declaration=True)
