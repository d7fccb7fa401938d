"""The pool: sites and contributions with their states, ledger, blobs, spool, log and fsck.

Every write is durable before it counts. `pool.OpenPool` is the one writer of a folder; each folder here is one part.
"""
