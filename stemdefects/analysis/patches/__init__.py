"""Classes of defects by their image patches."""
