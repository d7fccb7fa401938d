"""The real thing on one machine: a pool, a campaign and sites, each a process of its own; `genepool up` and `down`.

Here lives what starts these processes, remembers them in one folder, and ends them. What they do is elsewhere.
"""
