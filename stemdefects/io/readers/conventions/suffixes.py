"""Which file names mean an image or a movie, by family of formats."""

from pathlib import Path

from stemdefects import extensions

PICTURES = ("png", "jpg", "jpeg", "bmp", "gif", "webp")
HDF5 = ("h5", "hdf5", "he5")
TIFF = ("tif", "tiff", "btf")
VENDOR = (
    "dm3",
    "dm4",
    "emd",
    "ser",
    "emi",
    "mrc",
    "hspy",
    "zspy",
    "mib",
    "blo",
    "dens",
    "prz",
    "unf",
    "tvips",
    "nxs",
    "rpl",
)
SUFFIXES = (*HDF5, *TIFF, "npy", "npz", *PICTURES, *VENDOR)


def is_image_file(path: Path) -> bool:
    """Does the name say a type that can be read, by us or by another package? (A .zspy is a folder.)"""
    suffix = path.suffix[1:].lower()
    if suffix not in SUFFIXES and suffix not in extensions.found(extensions.READERS):
        return False
    return path.is_file() or suffix == "zspy"
