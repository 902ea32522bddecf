"""How common each column state is in a realistic sample."""

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import LabelsConfig


def state_prior(cfg: LabelsConfig, material: Material) -> np.ndarray:
    """(S,) fraction of its site's columns in each state; the states of a site add up to 1.

    Raises UserError for negative fractions, or when the defects of a site leave nothing for the ideal state. Kinds in
    `labels.prior` that the material does not have are ignored, so that one config serves several materials.
    """
    prior = np.zeros(material.n_states)
    for kind in material.kinds:
        prior[kind.state] = cfg.prior.get(kind.name, cfg.other_prior)
    if (prior < 0).any() or cfg.other_prior <= 0:
        raise UserError(f"labels.prior (labels={cfg.name}): fractions must be positive, got {dict(cfg.prior)}")
    for index, site in enumerate(material.sites):
        rest = 1.0 - prior[material.site_of_state == index].sum()
        if rest <= 0:
            raise UserError(
                f"labels.prior (labels={cfg.name}): the defects of site {site.name} add up to {1 - rest:.2f}"
            )
        prior[site.ideal] = rest
    return prior
