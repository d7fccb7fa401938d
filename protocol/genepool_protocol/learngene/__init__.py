"""Learngenes as data: blueprints, sizes, the expansion plan, flat vectors and their algebra, tensor files, manifests.

Pure numpy and pydantic. What is here must give the same bytes on every machine: only element-wise IEEE arithmetic in a
fixed order, never a BLAS call, never torch.
"""
