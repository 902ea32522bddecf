"""Tracks as a person puts them right."""

import numpy as np


def relinked(track: np.ndarray, frame: np.ndarray, joined: np.ndarray, parted: np.ndarray) -> np.ndarray:
    """Numbers of tracks (n,), from 0 on without gaps, after `joined` and `parted`.

    joined: (k, 2) rows that are of one defect: from the later one's frame on the two tracks exchange what follows, so
    that two that were confused are put right by one pair; parted: (k,) rows at which a track of its own begins.
    """
    track, frame = np.asarray(track).copy(), np.asarray(frame)
    for pair in np.asarray(joined, int).reshape(-1, 2):
        early, late = pair[np.argsort(frame[pair], kind="stable")]
        one, other = track[early], track[late]
        if one == other:
            continue
        after = frame >= frame[late]
        mine, theirs = (track == one) & after, (track == other) & after
        goes_on = ((track == other) & ~after).any()
        track[theirs] = one
        track[mine] = other if goes_on else track.max() + 1
    for row in np.asarray(parted, int):
        same = track == track[row]
        if (frame[same] < frame[row]).any():
            track[same & (frame >= frame[row])] = track.max() + 1
    known = track >= 0
    track[known] = np.unique(track[known], return_inverse=True)[1]
    return track
