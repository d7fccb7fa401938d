"""Serving: selection and descending on long-lived Ray workers; thin shells around plain classes.

`service.Serving` is what the front talks to. `dispatcher` is the seam behind it; beyond the seam, `ray_dispatcher`,
`runtime` (start and stop), `actors` (the remote shell of `worker.Worker`) and `failures` are all that knows Ray.
Learngenes are mapped from their files and descendants leave through shared-memory slots: Ray carries names, small
support sets and byte offsets, never weights.
"""
