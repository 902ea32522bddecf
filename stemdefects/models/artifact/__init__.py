"""A trained model as a folder: all that inference needs, in formats that cannot run code.

weights.npz     arrays by path, no pickle          config.yaml      model, material, simulation, labels, training
emissions.npz   `models.probability.emissions`, alike          model.json       states, calibration, thresholds
README.md       the model card                     confusion.json   confusion matrix per dose

Weights may also be there as `weights.safetensors`, as `stemdefects.export` writes them.
"""

from stemdefects.models.artifact.calibration import Calibration, peak_finder
from stemdefects.models.artifact.folder import Contents, load, save
from stemdefects.models.artifact.loaded import LoadedModel, Sections

__all__ = ["Calibration", "Contents", "LoadedModel", "Sections", "load", "peak_finder", "save"]
