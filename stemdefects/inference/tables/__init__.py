"""From blocks of frames to the files of a run."""
