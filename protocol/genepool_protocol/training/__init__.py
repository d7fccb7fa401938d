"""What the pool's baking and a site's training share: the optimiser, and the arithmetic that suits the hardware."""
