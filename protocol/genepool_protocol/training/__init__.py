"""What the pool's baking and a site's training share: the loop, its checkpoint, the optimiser, and the arithmetic.

`loop` takes the steps, `checkpoint` keeps them from being lost, `best` ends them early, `muon` moves the matrices,
`precision` chooses the arithmetic that suits the hardware. What is trained, on which images and towards which loss,
is the caller's.
"""
