"""A consumer: shows a support set, takes a descendant, verifies it offline, and uses it as a timm model.

`pool.Pool` joins the steps: support -> private or request (TALS) -> download -> verify -> load. Nothing unverified is
ever loaded: each step takes the previous step's type.
"""
