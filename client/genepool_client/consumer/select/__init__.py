"""From a support set to weights: reading it, and TALS at home or at the pool."""
