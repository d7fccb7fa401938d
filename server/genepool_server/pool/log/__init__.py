"""The log: leaves, signed heads, cosignatures, tiles, and the statements of the pool that are logged."""
