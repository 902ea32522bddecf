"""Tracks of vacancies as the sampled histories have them, and how sure each link is."""

import numpy as np

from stemdefects.analysis.kinetics.result import Kinetics

SURE = 0.95  # of a link's probability: more than that needs no alternative
LEAST = 0.05  # of an alternative's: less is a history or two


def link(answer: Kinetics, frame: np.ndarray, site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tracks of occupied sites, given as rows of `occupancy` sorted by frame.

    Returns:
        track (n,): number of the vacancy in the sampled history that agrees most with all others; -1 where that one has
        none there. sure (n,): share of the sampled histories in which the same vacancy was at the track's last place
        before; 1 at its first, NaN without a track.
    """
    n = len(frame)
    if not n or not answer.histories:
        return np.full(n, -1), np.full(n, np.nan)
    there = np.array([(answer.identities(k)[frame, site] >= 0).mean() for k in range(len(answer.histories))])
    track = answer.identities(int(there.argmax()))[frame, site]
    before = np.full(n, -1)
    last: dict[int, int] = {}
    for row in np.flatnonzero(track >= 0).tolist():
        before[row] = last.get(int(track[row]), -1)
        last[int(track[row])] = row
    linked = np.flatnonzero(before >= 0)
    agree = np.zeros(len(linked))
    for k in range(len(answer.histories)):
        who = answer.identities(k)[frame, site]
        agree += (who[linked] >= 0) & (who[linked] == who[before[linked]])
    sure = np.where(track >= 0, 1.0, np.nan)
    sure[linked] = agree / len(answer.histories)
    return track, sure


def alternatives(answer: Kinetics, frame: np.ndarray, site: np.ndarray) -> np.ndarray:
    """Where the vacancy at each of these places may have been in the frame before, for links that are not sure.

    Args:
        frame, site: (n,) rows and columns of `occupancy`.

    Returns:
        (m,) structured: `row` of the places, `from_site` (-1: not there, or off the field), `probability` over the
        histories that have a vacancy at the place. Of a place whose likeliest origin has `SURE` or more, nothing.
    """
    absent, nowhere = -2, -1
    origin = np.full((len(frame), len(answer.histories)), absent, np.int32)  # the histories themselves are large
    later = np.flatnonzero(frame > 0)
    for k in range(len(answer.histories)):
        who = answer.identities(k)
        for f in np.unique(frame[later]).tolist():
            rows = later[(frame[later] == f) & (who[f, site[later]] >= 0)]
            before = np.flatnonzero(who[f - 1] >= 0)
            at = np.full(max(who[f].max(), who[f - 1].max()) + 1, nowhere)
            at[who[f - 1, before]] = before
            origin[rows, k] = at[who[f, site[rows]]]
    made = []
    for row in later.tolist():
        told = origin[row][origin[row] != absent]
        places, counts = np.unique(told, return_counts=True)
        share = counts / max(len(told), 1)
        if len(places) and share.max() < SURE:
            order = np.argsort(-share, kind="stable")
            made += [(row, places[k], share[k]) for k in order if share[k] >= LEAST]
    return np.array(made, [("row", "i8"), ("from_site", "i8"), ("probability", "f8")])
