"""Which places of the residual are point defects, and which of them are beyond doubt."""
