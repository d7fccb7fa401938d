"""The pool: sites and contributions with their states, ledger, blobs, spool, log and fsck.

Every write is durable before it counts.

`pool.Pool` is the one writer of a folder. `view` is what serving and the front read.
"""
