"""Campaigns: Flower invites sites and brings back receipts, each of which is held against the pool."""
