"""Processes of their own, with limits, for whatever reads weights: `worker` is the server's end, `child` the other.

A child is started afresh with an environment of a few names and no open file of the server's, so it inherits no key.
It gets no more memory, processor time and wall time than `Bounds` says; what breaks one is answered with a reason, and
the server goes on. It runs as the same user and is no sandbox against code: that the readers run none is their part.
"""
