"""Readers: one module per family of file formats, `open_file(path, signal) -> Movie`; `io.opening` chooses."""
