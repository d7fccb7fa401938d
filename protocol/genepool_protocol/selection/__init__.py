"""TALS, usable by both sides, and the net that it looks through, in torch.

pixels -> net -> task embedding -> retrieval -> scoring -> combination -> guard, joined by `tals`. Pure functions of
pixels, labels and learngenes: the same input gives the same weights on the pool's actors and at home.
"""
