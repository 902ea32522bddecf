"""Names of arrays that signatures in several rooms take; shapes stand where they are used."""

import jax
from jaxtyping import Float

Scalar = Float[jax.Array, ""] | float  # traced or known
