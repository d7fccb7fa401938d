"""Serving: selection and descending on long-lived Ray workers; thin shells around plain classes.

`service.Serving` is what the front talks to. `dispatcher` is the seam behind it; `supervised` keeps a Ray running in a
process of its own and starts it again when it dies, `ray_link` is the server's end of that process and `ray_driver` the
other one. There, `ray_dispatcher`, `runtime` (start and stop), `actors` (the remote shell of `worker.Worker`) and
`failures` are all that knows Ray. Learngenes are mapped from their files, descendants leave through shared-memory slots
and consumers' images come through `pictures`: Ray carries names and byte offsets, never weights and never images.
"""
