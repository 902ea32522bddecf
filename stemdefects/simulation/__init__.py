"""Images and movies of a material with exact truth. Image formation is JAX; `movies` writes files."""
