"""Digests, keys, envelopes, statements, the log's tree, notes and receipts: pure functions of bytes.

Raw bytes travel beside their parsed view until they are verified, and each step takes the previous step's type:
`Bundle` (parsed) -> `Verified` (a signature was checked) -> `ModelStatement` -> `Logged` (the log holds it).
"""
