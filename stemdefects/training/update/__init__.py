"""One step: state, batch, processes."""
