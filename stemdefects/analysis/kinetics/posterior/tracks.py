"""Tracks of vacancies as the sampled histories have them, and how sure each link is."""

import numpy as np

from stemdefects.analysis.kinetics.result import Kinetics


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
