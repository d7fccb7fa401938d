"""Many sites on one machine: a real pool server, Flower's simulation engine, a consumer, and a report of it all.

Every step goes through the code that production runs; what is here only starts, waits, watches and draws.
"""
