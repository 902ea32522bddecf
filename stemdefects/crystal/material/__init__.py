"""Materials: sites, column states, defect kinds and complexes, made from `configs/material/*.yaml`.

One idea serves everything: a column of the crystal has a state; a defect is a column whose state differs from the
ideal state of its site.
"""

from stemdefects.crystal.material.card import from_config, load
from stemdefects.crystal.material.crystal import MEASURED, Material
from stemdefects.crystal.material.parts import Complex, Kind, Site, Species, State

__all__ = ["MEASURED", "Complex", "Kind", "Material", "Site", "Species", "State", "from_config", "load"]
