"""Points matched with truth, and every figure of merit, each defined once."""
