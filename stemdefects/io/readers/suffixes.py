"""Which file names mean an image or a movie, by family of formats."""

from pathlib import Path

PICTURES = ("png", "jpg", "jpeg", "bmp", "gif", "webp")
HDF5 = ("h5", "hdf5", "he5")
TIFF = ("tif", "tiff", "btf")
VENDOR = (
    "dm3", "dm4", "emd", "ser", "emi", "mrc", "hspy", "zspy", "mib", "blo", "dens", "prz", "unf", "tvips", "nxs", "rpl",
)  # fmt: skip
SUFFIXES = (*HDF5, *TIFF, "npy", "npz", *PICTURES, *VENDOR)


def is_image_file(path: Path) -> bool:
    """Does the name say a type that can be read? (A .zspy is a folder.)"""
    return path.suffix[1:].lower() in SUFFIXES and (path.is_file() or path.suffix.lower() == ".zspy")
