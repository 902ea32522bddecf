"""How common each column state is in a realistic sample."""

import numpy as np
from jaxtyping import Float

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import LabelsConfig

COMMON = 1e-3  # prevalence from which a kind counts for scores: rarer ones are hardly in a validation set


def state_prior(cfg: LabelsConfig, material: Material) -> Float[np.ndarray, " states"]:
    """(S,) fraction of its site's columns in each state; the states of a site add up to 1.

    `labels.prior` overrides the `prevalence` of the material's kinds; kinds in it that the material does not have are
    ignored. Raises UserError for negative fractions, for a kind whose prevalence nobody states, or when the defects of
    a site leave nothing for the ideal state.
    """
    prior = np.zeros(material.n_states)
    for kind in material.kinds:
        stated = cfg.prior.get(kind.name, cfg.other_prior if kind.prevalence is None else kind.prevalence)
        if stated is None:
            raise UserError(
                f"material {material.name}: how common is {kind.name}? Say material.kinds.{kind.name}.prevalence (or "
                f"+labels.prior.{kind.name}) as a fraction of its sites, e.g. 0.002"
            )
        prior[kind.state] = stated
    if (prior < 0).any() or (cfg.other_prior is not None and cfg.other_prior <= 0):
        raise UserError(f"labels.prior (labels={cfg.name}): fractions must be positive, got {dict(cfg.prior)}")
    for index, site in enumerate(material.sites):
        rest = 1.0 - prior[material.site_of_state == index].sum()
        if rest <= 0:
            raise UserError(
                f"labels.prior (labels={cfg.name}): the defects of site {site.name} add up to {1 - rest:.2f}"
            )
        prior[site.ideal] = rest
    return prior


def common_kinds(cfg: LabelsConfig, material: Material) -> list[str]:
    """Names of the kinds that a realistic sample has enough of to be scored by, in the material's order."""
    prior = state_prior(cfg, material)
    return [kind.name for kind in material.kinds if prior[kind.state] >= COMMON]
