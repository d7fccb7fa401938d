"""Admission: the numbered checks of SPEC.md that a contribution passes before the pool stores it.

Pure functions, cheap and unforgeable first. Each takes the type that the previous one made, so that nothing can skip
one: raw bytes -> `statement.Claim` (3 to 7) -> `state.Current` (9 to 11) -> `architecture.Fitting` (12) ->
`content.Sound` (14 to 16). Check 8 (already logged) and 13 (the upload) belong to the pool.
"""
