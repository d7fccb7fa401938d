"""The benchmark of the method: sites and tasks of real domains, every control beside TALS, at equal budgets.

plan (who plays) -> cells (what is computed, each kept under a content key) -> rows -> tables and plots. `method` is the
only module here that calls training and selection. Nothing here is part of a pool.
"""
